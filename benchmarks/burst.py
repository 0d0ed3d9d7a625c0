"""5,000 jobs that end at one moment: how long until a GET shows each end. The real observer, on the mock.

A GET is a read of the record and nothing else, so an end is visible from the write that ends the record on; the store
keeps the time of that write, on the clock of this machine, and is asked for it when all is over. So nobody has to poll
5,000 jobs. Meanwhile GETs go on at the rate of 1,000 jobs that are polled every 5 s; their p95 is added, because an end
that was just written takes as long as a GET to arrive.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil

from benchmarks import records
from benchmarks.figure import Figure, Goal, percentile
from benchmarks.load import get_paced
from benchmarks.parts import open_mock
from pman_core.store.redis import RedisStore
from testbed.system import System

JOBS = 5_000
PER_S = 200.0
GIVE_UP_S = 60.0
RUN_S = 3600.0
LEAD_S = 15.0
"""From the start of the observer to the end of all jobs: it shall know all of them by then."""


def measure(folder: Path, scale: float) -> list[Figure]:
    count = round(JOBS * scale)
    with closing(System(folder / "system", "mock")) as system:
        system.start_redis(aof=False)
        system.start_api(2)
        store = system.connect_store()
        end_s = _start_jobs(system, store, count)
        system.start_observer()
        system.wait_ready()
        if time.time() > end_s - LEAD_S / 2:
            raise RuntimeError("this machine is too slow: the jobs end before the observer knows them")
        time.sleep(end_s - time.time())
        give_up_s = end_s + GIVE_UP_S
        observer = psutil.Process(system.processes["observer"].pid)
        before = observer.cpu_times()

        def is_over() -> bool:
            return store.counts("mock")["terminal"] == count or time.time() > give_up_s

        took_s = get_paced(system.api_port, [f"job-{number}" for number in range(1000)], PER_S, _seldom(is_over))
        if store.counts("mock")["terminal"] != count:
            raise RuntimeError(f"after {GIVE_UP_S:g} s {store.counts('mock')}")
        after = observer.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        get_p95_ms = 1000 * percentile(took_s, 0.95)
        p50_ms, p95_ms, last_ms = (_written_by_ms(store, round(end_s * 1000), count, part) for part in (0.5, 0.95, 1.0))
    return [
        Figure(
            f"{count:,} ends in a burst, visible in GET, p95", Goal(1.0, "at most"), (p95_ms + get_p95_ms) / 1000, "s",
            note=f"written after: p50 {p50_ms:.0f} ms, p95 {p95_ms:.0f} ms, the last {last_ms:.0f} ms; "
            f"GET p95 meanwhile {get_p95_ms:.1f} ms; {cpu_s:.2f} s of processor time of the observer",
        )
    ]  # fmt: skip


def _start_jobs(system: System, store: RedisStore, count: int) -> float:
    """Write ``count`` running jobs that all end at one moment; return it, in seconds since the epoch."""
    backend = open_mock(system)
    began_s = time.time()
    jobs = records.create(store, "mock", [f"job-{number}" for number in range(count)], [f"MOCK_RUN_FOR_S={RUN_S}"])
    records.begin(store, jobs)
    # As long again as this took, a machine that is busy needs to hand them to the scheduler.
    end_s = time.time() + 2 * (time.time() - began_s) + LEAD_S
    backend.clock = lambda: end_s - RUN_S
    records.submit_to(backend, store.instance, jobs)
    return end_s


def _written_by_ms(store: RedisStore, end_ms: int, count: int, part: float) -> int:
    """Return how long after ``end_ms`` so large a part of all ends was written down."""

    def is_enough(after_ms: int) -> bool:
        return len(store.ended_before("mock", end_ms + after_ms, count)) >= count * part

    return bisect_left(range(int(GIVE_UP_S * 1000)), True, key=is_enough)


def _seldom(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Ask but ten times a second: the question shall not weigh on what is measured."""
    answer, due_s = False, 0.0

    def asked() -> bool:
        nonlocal answer, due_s
        if time.monotonic() > due_s:
            answer, due_s = ask(), time.monotonic() + 0.1
        return answer

    return asked
