"""The server as real HTTP/1.1: kept connections, compressed metadata, and everything that faults do to a call."""

import gzip
import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from testbed.ports import free_port
from tests.fakes.cromwell.api import Api, Call
from tests.fakes.cromwell.replies import Pretty, Refused, Reply
from tests.fakes.http_server import MortalHttpServer
from tests.fakes.kube_api.faults import Faults

ACCEPT_S = 0.005
"""So often the server looks whether it has been stopped."""


class Server:
    """One address; ``stop`` and ``start`` may be called again and again."""

    def __init__(self, faults: Faults, port: int = 0) -> None:
        self.faults, self.port = faults, port or free_port()
        self._http: _Http | None = None

    def start(self, api: Api) -> None:
        self._http = _Http(("127.0.0.1", self.port), api, self.faults)
        threading.Thread(target=self._http.serve_forever, args=(ACCEPT_S,), daemon=True).start()

    def stop(self) -> None:
        """Be gone at once: connections are cut, new ones are refused."""
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
            http.cut_all()


class _Http(MortalHttpServer):
    def __init__(self, address: tuple[str, int], api: Api, faults: Faults) -> None:
        self.api, self.faults = api, faults
        super().__init__(address, _Handler)


class _Cut(Exception):
    """Close the connection."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        call = Call(
            method=self.command,
            path=parts.path,
            query=parse_qsl(parts.query, keep_blank_values=True),
            body=self.rfile.read(length),
            content_type=self.headers.get("Content-Type", ""),
        )
        try:
            self._answer(call)
        except (_Cut, OSError):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self, call: Call) -> None:
        faults = self.server.faults
        faults.note(call.asked)
        order = faults.take(call.asked, "refuse", "hang", "drop", "say")
        try:
            if order is None:
                reply = self.server.api.answer(call)
            elif order.kind == "refuse":
                raise order.value
            elif order.kind == "say":
                reply = Reply(order.value)
            else:
                if order.kind == "hang":
                    faults.wait()
                raise _Cut
        except Refused as refused:
            reply = refused.reply
        if faults.take(call.asked, "lose"):
            raise _Cut
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        body, kind = reply.body, "application/json"
        if isinstance(body, str):
            text, kind = body, "text/plain; charset=UTF-8"
        elif isinstance(body, bytes):
            text, kind = body.decode("utf-8", "replace"), "text/html"
        elif isinstance(body, Pretty):
            text = json.dumps(body.value, indent=2, ensure_ascii=False)
        else:
            text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        data = text.encode("utf-8", "surrogatepass")
        headers = dict(reply.headers)
        if reply.may_be_compressed and "gzip" in self.headers.get("Accept-Encoding", ""):
            data = gzip.compress(data)
            headers |= {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked", "Content-Type": kind}
            data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        else:
            headers |= {"Content-Type": kind, "Content-Length": str(len(data))}
        self.send_response_only(reply.code)
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def finish(self) -> None:
        """What is left to be written to a client that has gone must not keep the socket open."""
        with suppress(OSError):
            super().finish()
        self.rfile.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""
