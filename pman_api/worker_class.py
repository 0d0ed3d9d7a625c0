"""gunicorn's threaded worker, with an end to its patience: a client that stops in the middle loses its connection.

The stock worker reads without a time limit. As many stalled clients as there are threads would stop the API. And it
answers what is no HTTP with HTML; here it is a problem like every other error.
"""

import json
import socket
import struct
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from pman_api.problems import MEDIA_TYPE, to_problem
from pman_api.request_ids import HEADER

RECEIVE_TIMEOUT_S = 5
"""So long a client may send nothing once it has begun a request. https://man7.org/linux/man-pages/man7/socket.7.html"""
DETAIL_CHARS_MAX = 200
STATUS_OF_FAULT: dict[type[errors.ParseException], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.ForbiddenProxyRequest: 403,
    errors.ConfigurationProblem: 500,
}
"""What a request that gunicorn cannot read is answered; all others are 400. A transfer coding that it does not know is
501 to RFC 9112, but no fault of a client may look like one of this server."""


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

    def handle_request(self, req: Any, conn: TConn) -> bool:
        keeps_open = super().handle_request(req, conn)
        req.is_answered = True
        return keeps_open

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what never reached the app."""
        if getattr(req, "is_answered", False):
            # The rest of its body, which the app had no use for, is no HTTP. A second reply would pass for the answer
            # to the client's next request.
            self.log.info("no HTTP behind a request from %s: %r", addr, exc)
            return
        status = fault_status(exc)
        request_id = uuid4().hex
        if status == 500:
            self.log.exception("defect [%s]: %s %s", request_id, getattr(req, "method", ""), getattr(req, "uri", ""))
        else:
            self.log.info("no HTTP [%s] from %s: %r", request_id, addr, exc)
        try:
            util.write_nonblock(client, to_reply(status, "" if status == 500 else str(exc), request_id))
        except OSError as error:
            self.log.debug("the client has not waited: %s", error)


def fault_status(exc: BaseException) -> int:
    """Return the status for what gunicorn has raised while it read a request. Pure."""
    if not isinstance(exc, errors.ParseException):
        return 500
    return next((status for kind, status in STATUS_OF_FAULT.items() if isinstance(exc, kind)), 400)


def to_reply(status: int, detail: str, request_id: str) -> bytes:
    """Return a whole reply, which ends the connection. Pure."""
    shown = detail if len(detail) <= DETAIL_CHARS_MAX else detail[: DETAIL_CHARS_MAX - 1] + "…"
    body = json.dumps(to_problem(status, shown, "", request_id))
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n{HEADER}: {request_id}\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode("ascii")
