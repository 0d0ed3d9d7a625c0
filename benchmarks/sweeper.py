"""A process that does the observer's big rounds when it is told to: the other half of :mod:`benchmarks.sweep`.

A line on stdin is an order: ``poll`` asks the scheduler for all running jobs, ``sweep`` compares all of its objects
with the records, ``compute`` only computes. The answer is a line of JSON: how long it took, how much processor time of
this process, and how many calls of the scheduler.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from backends.mock import MockSettings
from benchmarks import counted
from benchmarks.counted import CountedMock
from pman_core.broker import QueuePublisher, make_celery
from pman_core.settings import load_settings
from pman_core.store.redis import RedisStore
from pman_worker import reconcile
from pman_worker.context import Context
from pman_worker.leader import Leader
from pman_worker.sightings import Sightings

COMPUTE_S = 0.5


def main() -> None:
    settings = load_settings()
    mock_dir = Path(os.environ["MOCK_DIR"])
    store = RedisStore.connect(settings)
    backend = CountedMock(settings, MockSettings(mock_dir=mock_dir))
    ctx = Context(settings, store, backend, QueuePublisher(make_celery(settings), settings.container_env, store))
    leader = Leader(store, settings.container_env, lease_s=3600)
    leader.renew()
    sightings = Sightings(ctx, leader)
    work: dict[str, Callable[[], None]] = {
        "poll": sightings.poll,
        "sweep": partial(reconcile.sweep, ctx, sightings),
        "compute": compute,
    }
    for order in sys.stdin:
        before, began_s, cpu_s = counted.calls(mock_dir), time.perf_counter(), time.process_time()
        sightings.begin_round()
        work[order.strip()]()
        answer = {
            "took_s": time.perf_counter() - began_s,
            "cpu_s": time.process_time() - cpu_s,
            "calls": (counted.calls(mock_dir) - before).total(),
        }
        print(json.dumps(answer), flush=True)


def compute() -> None:
    until_s = time.process_time() + COMPUTE_S
    while time.process_time() < until_s:
        sum(range(10_000))


if __name__ == "__main__":
    main()
