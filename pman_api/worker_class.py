"""gunicorn's threaded worker, with an end to its patience: a client that stops in the middle loses its connection.

The stock worker reads without a time limit. As many stalled clients as there are threads would stop the API.
"""

import socket
import struct

from gunicorn.workers.gthread import TConn, ThreadWorker

RECEIVE_TIMEOUT_S = 5
"""So long a client may send nothing once it has begun a request. https://man7.org/linux/man-pages/man7/socket.7.html"""


class BoundedThreadWorker(ThreadWorker):
    """Sets the limit in the kernel, where the worker's own switching of blocking modes does not undo it."""

    def enqueue_req(self, conn: TConn) -> None:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", RECEIVE_TIMEOUT_S, 0))
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> bool:
        keeps_open = super().handle(conn)
        if keeps_open is False:
            # Here, in a thread: the stock worker says its long goodbye in the loop that accepts everybody else.
            conn.close(graceful=True)
        return keeps_open
