"""1, 2 and 4 workers on a scheduler that takes 200 ms for each submit: the throughput should follow their number.

Four threads each, so that the machine's cores are not what is measured: one worker submits at most 20 jobs per s.
From the first POST to the last terminal record; as many jobs as take each number of workers the same time.
"""

import time
from contextlib import closing
from pathlib import Path

from benchmarks.figure import Figure, Goal
from benchmarks.load import post_all
from benchmarks.parts import settings_of
from pman_core.broker import make_celery
from pman_core.store.redis import RedisStore
from testbed.system import System, wait_for

THREADS = 4
SUBMIT_S = 0.2
DURATION_S = 10.0
CLIENTS = 16


def measure(folder: Path, scale: float) -> list[Figure]:
    with closing(System(folder / "system", "mock")) as system:
        system.start_redis(aof=False)
        system.start_api(1)
        system.start_observer()
        per_s: dict[int, float] = {}
        for count in (1, 2, 4):
            for number in range(max(per_s, default=0), count):
                system.start_worker(f"worker-{number}", concurrency=THREADS)
            _wait_for_workers(system, count)
            system.wait_ready()
            per_s[count] = _per_s(system, count, round(count * THREADS / SUBMIT_S * DURATION_S * scale))
    return [
        Figure(
            f"{count} workers against 1, 200 ms per submit",
            Goal(0.9, "at least", "ratio"),
            per_s[count],
            "/s",
            f"linear: {count} x {per_s[1]:.1f} /s",
            per_s[count] / (count * per_s[1]),
            note=f"{THREADS} threads each; 1 worker reaches {per_s[1]:.1f} of {THREADS / SUBMIT_S:.0f} /s possible",
        )
        for count in (2, 4)
    ]


def _per_s(system: System, workers: int, jobs: int) -> float:
    store = system.connect_store()
    before = store.counts("mock")["terminal"]
    env = [f"MOCK_SUBMIT_BLOCK_FOR_S={SUBMIT_S}"]
    began_s = time.perf_counter()
    post_all(system.api_port, [f"job-{workers}-{number}" for number in range(jobs)], CLIENTS, env)
    wait_for("all jobs ended", lambda: _ended(store) == before + jobs, 10 * DURATION_S)
    return jobs / (time.perf_counter() - began_s)


def _ended(store: RedisStore) -> int:
    return store.counts("mock")["terminal"]


def _wait_for_workers(system: System, count: int) -> None:
    """Wait until so many workers answer on the broker."""
    with closing(make_celery(settings_of(system))) as app:
        wait_for(f"{count} workers", lambda: len(app.control.ping(timeout=0.5) or ()) == count, 60)
