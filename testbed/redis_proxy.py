"""A TCP proxy in front of Redis: a network that is slow, cut, closed or silent, while Redis itself is well."""

import enum
import socket
import threading
import time
from contextlib import suppress

from testbed.ports import free_port, give_back

CHUNK = 65536
LOOPBACK = "127.0.0.1"


class Network(enum.Enum):
    """What becomes of the data."""

    PASSES = enum.auto()
    REFUSES = enum.auto()
    SWALLOWS = enum.auto()


class RedisProxy:
    """Listens on a port of its own and speaks to ``upstream_port``. Threads; for tests, not for speed."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._lock = threading.Lock()
        self._network = Network.PASSES
        self._delay_s = 0.0
        self._links: set[_Link] = set()
        self.port = free_port()  # it is closed now and then
        self._listener = _bind(self.port)
        self._accept_on(self._listener)

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._links)

    def cut(self) -> int:
        """Cut every connection that is open now; new ones are welcome. Returns how many there were."""
        with self._lock:
            victims, self._links = self._links, set()
        for victim in victims:
            victim.close()
        return len(victims)

    def refuse(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._network is not Network.REFUSES:
            self._network = Network.REFUSES
            _shut(self._listener)
            self._listener.close()
            # Bound and not listening: it refuses, and nobody else gets the port.
            self._listener = _bind(self.port)
        self.cut()

    def slow_down(self, delay_s: float) -> None:
        """Hold every reply for so long."""
        self._delay_s = delay_s

    def swallow(self) -> None:
        """Half-open: connections stay up and new ones are accepted, but no byte arrives, in neither direction."""
        if self._network is Network.REFUSES:
            raise ValueError("restore the network first: it refuses")
        self._network = Network.SWALLOWS

    def restore(self) -> None:
        """Let everything pass again. A connection that has lost a byte stays silent: its peers never hear of it."""
        was_closed = self._network is Network.REFUSES
        self._delay_s = 0.0
        self._network = Network.PASSES
        if was_closed:
            self._accept_on(self._listener)

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        self.cut()
        give_back(self.port)

    def passes(self, link: "_Link") -> bool:
        """Whether a piece of data that has come on ``link`` goes on."""
        if self._network is Network.SWALLOWS:
            link.is_silent = True
        return not link.is_silent

    def hold(self) -> None:
        """Called for every piece of a reply."""
        if self._delay_s:
            time.sleep(self._delay_s)

    def forget(self, link: "_Link") -> None:
        with self._lock:
            self._links.discard(link)

    def _accept_on(self, listener: socket.socket) -> None:
        listener.listen(256)
        threading.Thread(target=self._accept, args=(listener,), name="redis-proxy", daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((LOOPBACK, self._upstream_port))
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._lock:
                self._links.add(link)
            if self._network is Network.REFUSES:  # it came in while the door was closed
                self.cut()
            link.start()


class _Link:
    """One connection through the proxy: two sockets, two threads."""

    def __init__(self, proxy: RedisProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._open_ends = 2
        self._lock = threading.Lock()
        self.is_silent = False

    def start(self) -> None:
        for source, sink in ((self._client, self._server), (self._server, self._client)):
            threading.Thread(target=self._pump, args=(source, sink), name="redis-proxy-link", daemon=True).start()

    def close(self) -> None:
        """Wake both threads with the end of the data; the last one closes the sockets."""
        _shut(self._client)
        _shut(self._server)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if source is self._server:
                    self._proxy.hold()
                if self._proxy.passes(self):
                    sink.sendall(data)
        self.close()
        with self._lock:
            self._open_ends -= 1
            is_last = self._open_ends == 0
        if is_last:
            self._client.close()
            self._server.close()
            self._proxy.forget(self)


def _bind(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    return bound


def _shut(victim: socket.socket) -> None:
    with suppress(OSError):
        victim.shutdown(socket.SHUT_RDWR)
