"""What clients do with thousands of jobs: POST, poll to the end, DELETE every other one, some while they run."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pman_core.states import TERMINAL

POLL_S = 0.2
PATIENCE_S = 60.0
ENVIRONMENTS = (
    ["MOCK_LOG=done"],
    ["MOCK_RUN_FOR_S=0.2", "MOCK_LOG=a line of the log\n", "MOCK_LOG_TIMES=50"],
    ["MOCK_EXIT_CODE=3", "MOCK_LOG=no such file"],
    ["MOCK_PENDING_FOR_S=0.1", "MOCK_SUBMIT_ERROR=unavailable", "MOCK_SUBMIT_ERROR_TIMES=1"],
)
"""Jobs of several kinds, so that each way through worker and observer is walked."""


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body else {}
        self._http.request(method, path, json.dumps(body) if body else None, headers)
        reply = self._http.getresponse()
        return reply.status, reply.read()

    def close(self) -> None:
        self._http.close()


def _body(jid: str, number: int) -> dict[str, object]:
    return {
        "jid": jid, "args": [], "auid": "cube", "number_of_workers": "1", "cpu_limit": "1000", "memory_limit": "200",
        "gpu_limit": "0", "image": "fnndsc/pl-leak", "entrypoint": ["mock-nothing"], "type": "fs",
        "env": ENVIRONMENTS[number % len(ENVIRONMENTS)], "input_dir": f"{jid}/in", "output_dir": f"{jid}/out",
    }  # fmt: skip


def live(client: Client, number: int) -> None:
    """Lead one job from its POST to its end, and beyond."""
    jid = f"job-{number}"
    _expect(client.ask("POST", "/api/v1/", _body(jid, number)), 201)
    if number % 8 != 5:  # else it is deleted in the middle of whatever it does
        _wait_end(client, jid)
    if number % 2:
        _expect(client.ask("DELETE", f"/api/v1/{jid}/"), 204)


def _wait_end(client: Client, jid: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        status, raw = client.ask("GET", f"/api/v1/{jid}/")
        # 404: the retention is short, and this client may have slept.
        if status == 404 or (_expect((status, raw), 200) and json.loads(raw)["state"] in TERMINAL):
            return
        if time.monotonic() > until_s:
            raise TimeoutError(f"{jid} has not ended: {raw!r}")
        time.sleep(POLL_S)


def _expect(reply: tuple[int, bytes], status: int) -> bool:
    if reply[0] != status:
        raise AssertionError(f"{reply[0]}, not {status}: {reply[1]!r}")
    return True


def live_all(port: int, count: int, clients: int, done: Callable[[int], None]) -> None:
    """Lead ``count`` jobs, by so many clients at once; ``done`` hears after each one how many there were."""
    numbers, lock, ended = iter(range(count)), threading.Lock(), itertools.count(1)

    def work() -> None:
        client = Client(port)
        for number in _each(numbers, lock):
            live(client, number)
            with lock:
                done(next(ended))
        client.close()

    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(work) for _ in range(clients)]:
            future.result()


def _each(numbers: Iterator[int], lock: threading.Lock) -> Iterator[int]:
    while True:
        with lock:
            number = next(numbers, None)
        if number is None:
            return
        yield number
