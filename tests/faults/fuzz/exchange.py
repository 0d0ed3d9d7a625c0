"""HTTP as bytes: what is sent may be anything, what comes back must be whole replies, soon, and no more than asked for.

A library would repair or refuse most of what is sent here before it reached the server.
"""

import contextlib
import http.client
import io
import json
import socket
from dataclasses import dataclass
from typing import Any, cast

HANG_S = 45.0
"""Nine times the API's own patience with a client that stops."""


@dataclass(frozen=True)
class Shot:
    """What one client sends at once."""

    kind: str
    """The row of the table of replies."""
    raw: bytes
    at_least: int = 1
    at_most: int = 1
    """How many replies must come and may come."""
    method: str = "GET"
    """Of the last request: a HEAD is answered without a body."""
    request_id: str = ""
    """Must come back, if the request is sane enough to have one."""
    may_create: bool = False
    """A job may come of it. Of everything else none may."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _Unclosed(io.BufferedReader):
    """Read by one ``HTTPResponse`` after another, each of which thinks that it is the last."""

    def close(self) -> None:
        """Leave it to the connection."""

    def makefile(self, _mode: str) -> "_Unclosed":
        return self


class Connection:
    """One TCP connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=HANG_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = _Unclosed(socket.SocketIO(self._socket, "r"))
        self.is_open = True

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def finish(self) -> None:
        """Say that nothing more will come."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self, method: str) -> Reply | None:
        """Return the next reply, ``None`` at the end of the connection.

        Raises:
            TimeoutError: neither came.
            http.client.HTTPException: it is no HTTP, or was cut off.
        """
        if not self._reader.peek(1):
            self.is_open = False
            return None
        response = http.client.HTTPResponse(cast("socket.socket", self._reader), method=method)
        response.begin()
        reply = Reply(response.status, response.headers, response.read())
        self.is_open = not response.will_close
        return reply


def fire(port: int, shot: Shot) -> list[Reply]:
    """Send a shot through a connection of its own; return every reply that comes until the server closes it."""
    replies: list[Reply] = []
    with Connection(port) as connection:
        # A server that has seen enough may answer and close before everything is sent.
        with contextlib.suppress(OSError):
            connection.send(shot.raw)
            connection.finish()
        with contextlib.suppress(ConnectionResetError):
            while reply := connection.read(shot.method):
                replies.append(reply)
    return replies
