"""A proxy on an engine's socket that counts calls, and can cut or hold every connection: faults without a victim."""

import re
import socket
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

REQUEST = re.compile(rb"(?:^|\r\n)?(GET|HEAD|POST|PUT|DELETE) (?:/v[0-9.]+)?(/[^ ?]*)(?:\?[^ ]*)? HTTP/1\.1\r\n")
CHUNK = 65536


class EngineProxy:
    """Listens at ``path`` and speaks to ``upstream``, both Unix sockets."""

    def __init__(self, upstream: Path, path: Path) -> None:
        self._upstream = upstream
        self.path = path
        self.url = f"unix://{path}"
        self._lock = threading.Lock()
        self._calls: list[str] = []
        self._open: set[socket.socket] = set()
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(256)
        threading.Thread(target=self._accept, name="engine-proxy", daemon=True).start()

    def calls(self) -> Counter[str]:
        """Return how often each call was made; names and ids are left out: ``POST /containers/*/start``."""
        with self._lock:
            return Counter(self._calls)

    def forget(self) -> None:
        with self._lock:
            self._calls.clear()

    def cut(self) -> int:
        """Cut every connection that is open now. Returns how many there were."""
        with self._lock:
            victims, self._open = self._open, set()
        for victim in victims:
            _shut(victim)
        return len(victims)

    def hold(self) -> None:
        """Let nothing pass, and cut nothing: an engine that hangs."""
        self._passes.clear()

    def release(self) -> None:
        self._passes.set()

    def close(self) -> None:
        self.release()
        _shut(self._listener)
        self._listener.close()
        self.cut()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            try:
                engine.connect(str(self._upstream))
            except OSError:
                client.close()
                engine.close()
                continue
            with self._lock:
                self._open |= {client, engine}
            for source, sink, is_request in ((client, engine, True), (engine, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, is_request), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if is_request:
                    self._note(data)
                self._passes.wait()
                sink.sendall(data)
        _shut(sink)
        _shut(source)
        with self._lock:
            is_last = source not in self._open
            self._open.discard(source)
        if not is_last:
            source.close()

    def _note(self, data: bytes) -> None:
        """A request line comes whole in one chunk: docker-py sends the head of a request at once."""
        for method, path in REQUEST.findall(data):
            parts = path.decode().split("/")
            if len(parts) > 3 or (len(parts) == 3 and parts[2] not in {"create", "json", "prune"}):
                parts[2] = "*"
            with self._lock:
                self._calls.append(f"{method.decode()} {'/'.join(parts)}")


def _shut(victim: socket.socket) -> None:
    with suppress(OSError):
        victim.shutdown(socket.SHUT_RDWR)
