"""Many jobs of many clients that poll all the time, and what these are told: the same on every scheduler."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from testbed.system import System, wait_for
from tests.engines.jobs import LOGLESS, REPLY_S, get, post, traced, traces, wait_end

PULSE_S = 0.05


class Pulse:
    """How long a reply takes meanwhile: of what pman promises in seconds, that much is the machine's, which is shared.

    A GET of a job, one that is not there, goes through the API and Redis and back: each must have its turn.
    """

    def __init__(self, system: System) -> None:
        self._url = f"{system.url}/api/v1/pulse/"
        self._took_s: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def p95_s(self) -> float:
        return sorted(self._took_s)[int(0.95 * len(self._took_s))]

    def _beat(self) -> None:
        while not self._is_over.wait(PULSE_S):
            began_s = time.monotonic()
            assert requests.get(self._url, timeout=REPLY_S).status_code == 404
            self._took_s.append(time.monotonic() - began_s)


def told_of_jobs(system: System, jobs: int, clients: int, patience_s: float) -> dict[str, float]:
    """Post ``job-0``, ``job-1``, ..., each polled until it is told to have ended; return when that was.

    Times are those of ``time.monotonic``. Every end must be the true one, and every program must have run once.
    """
    told_s: dict[str, float] = {}

    def live(number: int) -> None:
        jid = f"job-{number}"
        post(system, traced(jid, f"sleep 0.{number % 10}", number % 4))
        record = wait_end(system, jid, patience_s)
        told_s[jid] = time.monotonic()
        if LOGLESS in record["message"]:
            record = wait_for(f"the log of {jid}", lambda: (late := get(system, jid))["logs"] and late, patience_s)
        assert record["status"] == ("finishedWithError" if number % 4 else "finishedSuccessfully"), f"{record}"
        assert (record["exit_code"], record["logs"]) == (number % 4, "working\n"), f"{record}"

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(live, range(jobs)))
    jids = [f"job-{number}" for number in range(jobs)]
    assert [(traces(system, jid), traces(system, jid, "ends")) for jid in jids] == [(1, 1)] * jobs
    return told_s
