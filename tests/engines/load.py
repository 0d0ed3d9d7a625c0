"""Many jobs of many clients that poll all the time, and what these are told: the same on every scheduler."""

import time
from concurrent.futures import ThreadPoolExecutor

from testbed.system import System
from tests.engines.jobs import post, traced, traces, wait_end


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
        assert record["status"] == ("finishedWithError" if number % 4 else "finishedSuccessfully"), f"{record}"
        assert (record["exit_code"], record["logs"]) == (number % 4, "working\n"), f"{record}"

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(live, range(jobs)))
    jids = [f"job-{number}" for number in range(jobs)]
    assert [(traces(system, jid), traces(system, jid, "ends")) for jid in jids] == [(1, 1)] * jobs
    return told_s
