"""The proxy in front of Redis does to a connection what its methods say, and nothing to the server."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from testbed.redis_proxy import RedisProxy

SILENCE_S = 0.1


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that says again what it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client:
            while data := client.recv(1000):
                client.sendall(data)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo_port: int) -> Iterator[RedisProxy]:
    opened = RedisProxy(echo_port)
    yield opened
    opened.close()


@pytest.fixture
def client(proxy: RedisProxy) -> Iterator[socket.socket]:
    with connected(proxy) as opened:
        yield opened


def connected(proxy: RedisProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def is_answered(client: socket.socket) -> bool:
    """Whether an answer comes; ``False`` if there is silence, an error if the connection is cut."""
    client.sendall(b"PING")
    try:
        answer = client.recv(4)
    except TimeoutError:
        return False
    if not answer:
        raise ConnectionResetError
    assert answer == b"PING"
    return True


def test_what_comes_passes(client: socket.socket, proxy: RedisProxy) -> None:
    assert is_answered(client)
    assert proxy.connections == 1


def test_a_cut_ends_what_is_open_and_lets_in_what_comes(client: socket.socket, proxy: RedisProxy) -> None:
    assert is_answered(client)
    assert proxy.cut() == 1
    with pytest.raises(ConnectionError):
        is_answered(client)
    with connected(proxy) as another:
        assert is_answered(another)


def test_what_is_refused_is_welcome_again_on_the_same_port(client: socket.socket, proxy: RedisProxy) -> None:
    assert is_answered(client)
    proxy.refuse()
    with pytest.raises(ConnectionError):
        is_answered(client)
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.restore()
    with connected(proxy) as another:
        assert is_answered(another)


def test_every_reply_is_slow_until_the_network_is_restored(client: socket.socket, proxy: RedisProxy) -> None:
    proxy.slow_down(0.05)
    begun_s = time.monotonic()
    assert is_answered(client)
    assert is_answered(client)
    assert time.monotonic() - begun_s >= 0.1
    proxy.restore()
    assert is_answered(client)


def test_half_open_connections_hear_nothing_ever_after_and_new_ones_do(
    client: socket.socket, proxy: RedisProxy
) -> None:
    assert is_answered(client)
    client.settimeout(SILENCE_S)
    proxy.swallow()
    assert not is_answered(client)
    with connected(proxy) as another:
        another.settimeout(SILENCE_S)
        assert not is_answered(another)
    proxy.restore()
    assert not is_answered(client)
    with connected(proxy) as another:
        assert is_answered(another)


def test_a_half_open_connection_on_which_nothing_was_said_has_lost_nothing(
    client: socket.socket, proxy: RedisProxy
) -> None:
    assert is_answered(client)
    proxy.swallow()
    proxy.restore()
    assert is_answered(client)


def test_a_server_that_is_away_is_a_connection_that_ends(proxy: RedisProxy) -> None:
    proxy.close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens, so that nobody else does
        away = RedisProxy(closed.getsockname()[1])
        with connected(away) as client, pytest.raises(ConnectionError):
            is_answered(client)
        away.close()
