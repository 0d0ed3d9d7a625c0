"""The API server as real HTTP/1.1: kept connections, watches as chunked streams, and everything that faults do to them.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from testbed.ports import free_port
from tests.fakes.http_server import MortalHttpServer
from tests.fakes.kube_api.api import KINDS, Api, Call, Reply, Watch, matches
from tests.fakes.kube_api.faults import Faults
from tests.fakes.kube_api.refusals import Refused
from tests.fakes.kube_api.storage import Change, Json

TICK_S = 0.05
"""So often a watch looks whether it is over."""
ACCEPT_S = 0.005
"""So often the server looks whether it has been stopped."""


class Server:
    """One address; ``stop`` and ``start`` may be called again and again."""

    def __init__(self, api: Api, faults: Faults) -> None:
        self.api, self.faults = api, faults
        self.bookmark_s = 60.0
        """A quiet watch that has asked for bookmarks gets one so often."""
        self.port = free_port()
        self._http: _Http | None = None

    def start(self) -> None:
        """Listen."""
        self._http = _Http(("127.0.0.1", self.port), self)
        threading.Thread(target=self._http.serve_forever, args=(ACCEPT_S,), daemon=True).start()

    def stop(self) -> None:
        """Be gone at once: connections are cut, new ones are refused."""
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
            http.cut_all()


class _Http(MortalHttpServer):
    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.ours = server
        self.is_over = threading.Event()
        super().__init__(address, _Handler)

    def cut_all(self) -> None:
        self.is_over.set()
        super().cut_all()


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
            query=dict(parse_qsl(parts.query)),
            body=self.rfile.read(length),
            content_type=self.headers.get("Content-Type", ""),
            token=self.headers.get("Authorization", "").removeprefix("Bearer "),
        )
        try:
            self._answer(call)
        except (_Cut, OSError):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self, call: Call) -> None:
        api, faults = self.server.ours.api, self.server.ours.faults
        try:
            target = api.target(call)
            asked = target.asked
            faults.note(asked)
            order = faults.take(asked, "refuse", "hang", "drop", "say")
            if order is None:
                answer = api.answer(call, target)
            elif order.kind == "refuse":
                raise order.value
            elif order.kind == "say":
                answer = Reply(order.value)
            else:
                if order.kind == "hang":
                    faults.wait()
                raise _Cut
        except Refused as refused:
            self._send(refused.code, refused.body, refused.headers)
            return
        if faults.take(asked, "lose"):
            raise _Cut
        if isinstance(answer, Watch):
            self._stream(answer, asked)
        else:
            self._send(answer.code, answer.body)

    def _send(self, code: int, body: Json | str | bytes, headers: dict[str, str] | None = None) -> None:
        kind = "application/json" if isinstance(body, dict) else "text/plain"
        text = json.dumps(body) if isinstance(body, dict) else body
        data = text.encode() if isinstance(text, str) else text
        self.send_response(code)
        for name, value in ({"Content-Type": kind} | (headers or {}) | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    # Watches

    def _stream(self, watch: Watch, asked: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        try:
            for line in self._lines(watch, asked):
                self._chunk(json.dumps(line).encode() + b"\n", asked)
        except Refused as refused:
            self._write(json.dumps({"type": "ERROR", "object": refused.body}).encode() + b"\n")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _lines(self, watch: Watch, asked: str) -> Iterator[Json]:
        """Yield what is there now if no version is asked from, and then every change until the time is over."""
        ours, storage = self.server.ours, self.server.ours.api.storage
        query = watch.query
        end_s = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        bookmark_at_s = time.monotonic() + ours.bookmark_s
        with storage.changed:
            version = int(query.get("resourceVersion") or 0) or storage.version
            present = [] if int(query.get("resourceVersion") or 0) else storage.all(watch.resource, watch.namespace)
        for found in present:
            if matches(found, query):
                yield {"type": "ADDED", "object": found}
        while not self.server.is_over.is_set():
            if order := ours.faults.take(asked, "interrupt"):
                raise order.value
            with storage.changed:
                changes = storage.changes_since(version)
                if not changes:
                    storage.changed.wait(TICK_S)
            for change in changes:
                version = change.version
                if _concerns(change, watch):
                    yield {"type": change.type, "object": change.found}
            is_over = time.monotonic() > end_s
            if query.get("allowWatchBookmarks") == "true" and (is_over or time.monotonic() > bookmark_at_s):
                bookmark_at_s = time.monotonic() + ours.bookmark_s
                yield _bookmark(watch, version)
            if is_over:
                return
        raise _Cut

    def _chunk(self, line: bytes, asked: str) -> None:
        order = self.server.ours.faults.take(asked, "cut", "skip", "repeat", "delay", "insert")
        kind = order.kind if order else ""
        if kind == "skip":
            return
        if kind == "cut":
            self._write(line[: len(line) // 2])
            raise _Cut
        if kind == "delay":
            self.server.ours.faults.sleep(order.value)  # type: ignore[union-attr]
        if kind == "insert":
            self._write(order.value)  # type: ignore[union-attr]
        self._write(line * 2 if kind == "repeat" else line)

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def finish(self) -> None:
        """What is left to be written to a client that has gone must not keep the socket open."""
        with suppress(OSError):
            super().finish()
        self.rfile.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class _Cut(Exception):
    """Close the connection."""


def _concerns(change: Change, watch: Watch) -> bool:
    key = change.key
    is_there = key.resource == watch.resource and watch.namespace in {"", key.namespace}
    return is_there and matches(change.found, watch.query)


def _bookmark(watch: Watch, version: int) -> Json:
    api_version, kind = KINDS[watch.resource]
    pod = {"spec": {"containers": None}}
    empty = {"spec": {"template": {"metadata": {}} | pod}} if watch.resource == "jobs" else pod
    found = {"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": str(version)}, "status": {}}
    return {"type": "BOOKMARK", "object": found | empty}
