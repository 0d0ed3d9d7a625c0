"""Clients that begin a request and stop: they lose their connection, nobody else waits for them long."""

import socket
from collections.abc import Callable

import pytest
import requests

from pman_api.worker_class import RECEIVE_TIMEOUT_S
from testbed.system import System, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HEAD = b"POST /api/v1/ HTTP/1.1\r\nHost: p\r\nContent-Type: application/json\r\n"
HALVES = {"half a header": HEAD, "half a body": HEAD + b"Content-Length: 100\r\n\r\n{"}
ROUND_S = 3 * RECEIVE_TIMEOUT_S
"""The request, its rest, and whether another follows: a stalled client is waited for three times at the most."""


def is_healthy(system: System) -> bool:
    try:
        return requests.get(f"{system.url}/health/", timeout=ROUND_S).ok
    except requests.RequestException:
        return False


@pytest.mark.parametrize("half", HALVES)
def test_more_stalled_clients_than_threads_do_not_stop_the_api(start: Callable[..., System], half: str) -> None:
    system = start()
    system.start_redis()
    system.start_api(processes=1)
    wait_for("the API is up", lambda: is_healthy(system))
    stalled = [socket.create_connection(("127.0.0.1", system.api_port)) for _ in range(40)]
    try:
        for client in stalled:
            client.sendall(HALVES[half])
        # 40 stalled clients on 16 threads: three rounds. Where they are waited for without an end it never answers.
        wait_for("the API answers others", lambda: is_healthy(system), 10 * ROUND_S)
    finally:
        for client in stalled:
            client.close()


def test_a_broken_chunk_is_a_bad_request(start: Callable[..., System]) -> None:
    system = start()
    system.start_redis()
    system.start_api(processes=1)
    wait_for("the API is up", lambda: is_healthy(system))
    reply = wait_for("a reply", lambda: reply_to(system, HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"))
    assert reply.startswith(b"HTTP/1.1 400")


def reply_to(system: System, request: bytes) -> bytes:
    """Return what comes back first; nothing if we were so slow to begin that the API has taken us for stalled."""
    try:
        with socket.create_connection(("127.0.0.1", system.api_port), timeout=30) as client:
            client.sendall(request)
            return client.recv(1000)
    except ConnectionError:
        return b""
