"""Jobs per second from POST to the terminal record, beside a Celery task that does nothing.

Both go through one Redis and one worker process of eight threads, with the same Celery settings (late acknowledgement,
no prefetch, events on). Rounds of both take turns; the ratio is the median of the pairs.

* Echo: this process publishes with ``send_task`` while the worker takes: one publisher, one worker. The task joins its
  two arguments. A round is over when the queue is empty and all is acknowledged.
* pman: this process is sixteen clients, and one API process publishes while the worker takes; the worker claims the
  job, submits it to the mock and writes the handle; the observer hears of its end and writes it with its log. A round
  is over when every record is terminal.

So both sides publish in parallel to the work, from one process; pman has its API and its observer to pay besides, on
the same cores. The side that is not measured is idle meanwhile, which takes one per cent of a core.
"""

import time
from contextlib import closing
from pathlib import Path
from statistics import median

from redis import Redis

from benchmarks.figure import Figure, Goal, in_turn, median_ratio
from benchmarks.load import post_all
from benchmarks.parts import settings_of
from pman_core.broker import make_celery
from pman_core.queues import Purpose, key_prefix, queue_name
from testbed.system import System, wait_for

JOBS = 1500
ROUNDS = 7
THREADS = 8
CLIENTS = 16
ECHO_INSTANCE = "echo"


class Echo:
    """A worker of bare Celery tasks on the Redis of ``system``, and its publisher."""

    def __init__(self, system: System) -> None:
        self._system = system
        argv = ["-m", "celery", "-A", "benchmarks.echo_app", "worker", "-n", "echo@%h", "--pool", "threads", "-E",
                "--concurrency", str(THREADS), "--without-gossip", "--without-mingle"]  # fmt: skip
        system.start("echo", argv, {"PMAN_INSTANCE": ECHO_INSTANCE})
        self._app = make_celery(settings_of(system, ECHO_INSTANCE))
        self._redis = Redis.from_url(system.env["REDIS_URL"])
        self._queue = queue_name("mock", Purpose.SUBMIT)

    def per_s(self, jobs: int) -> float:
        began_s = time.perf_counter()
        for number in range(jobs):
            self._app.send_task("echo", args=(str(number), "x"), queue=self._queue, retry=False)
        wait_for("all echoes", self._is_done, 120)
        return jobs / (time.perf_counter() - began_s)

    def _is_done(self) -> bool:
        prefix = key_prefix(ECHO_INSTANCE)
        return self._redis.llen(prefix + self._queue) == 0 and self._redis.zcard(prefix + "unacked_index") == 0


class Pman:
    """All of pman on ``system``, and its clients."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._round = 0
        system.start_api(1)
        system.start_worker(concurrency=THREADS)
        system.start_observer()
        system.wait_ready()
        self._store = system.connect_store()

    def per_s(self, jobs: int) -> float:
        self._round += 1
        ended = self._store.counts("mock")["terminal"] + jobs
        began_s = time.perf_counter()
        post_all(self._system.api_port, [f"job-{self._round}-{number}" for number in range(jobs)], CLIENTS)
        wait_for("all jobs ended", lambda: self._store.counts("mock")["terminal"] == ended, 120)
        return jobs / (time.perf_counter() - began_s)


def measure(folder: Path, scale: float) -> list[Figure]:
    jobs = round(JOBS * scale)
    with closing(System(folder / "system", "mock")) as system:
        system.start_redis(aof=False)
        echo, pman = Echo(system), Pman(system)
        echo.per_s(100), pman.per_s(100)
        pairs = []
        for pman_first in in_turn(ROUNDS):
            order = (pman, echo) if pman_first else (echo, pman)
            found = {side: side.per_s(jobs) for side in order}
            pairs.append((found[pman], found[echo]))
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    return [
        Figure(
            "dispatch, POST to terminal record",
            Goal(0.8, "at least", "ratio"),
            median(ours for ours, _ in pairs),
            "jobs/s",
            f"bare Celery echo: {median(theirs for _, theirs in pairs):,.0f} /s",
            median_ratio(pairs),
            note=f"ratios of the rounds {ratios[0]:.2f} to {ratios[-1]:.2f}",
        )
    ]
