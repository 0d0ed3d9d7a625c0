"""What processes and Redis hold, and how that grows with the number of jobs."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import psutil

from pman_core.store.redis import RedisStore
from testbed.system import System

KIB = 1024
STEPS = 2
"""So often memory may grow at one stroke: in a short run one stroke of some hundred KiB looks like as much for each
thousand jobs. What is kept for each job grows with each sample, and is seen all the same."""


@dataclass(frozen=True)
class Sample:
    """One look at one process."""

    jobs: int
    uss_kib: float
    """Memory that would be free if it ended: shared libraries do not count."""
    fds: int
    threads: int


def processes(system: System) -> dict[str, psutil.Process]:
    """Return what is to be flat, by name; gunicorn's master only waits, its children serve."""
    found = {name: psutil.Process(process.pid) for name, process in system.processes.items() if name != "api"}
    children = psutil.Process(system.processes["api"].pid).children()
    return found | {f"api {number}": child for number, child in enumerate(children, start=1)}


def look(process: psutil.Process, jobs: int) -> Sample:
    return Sample(jobs, process.memory_full_info().uss / KIB, process.num_fds(), process.num_threads())


@dataclass(frozen=True)
class Growth:
    """How one process has grown since it was warm."""

    first: Sample
    last: Sample
    kib_per_1000: float
    more_fds: int
    more_threads: int


@dataclass(frozen=True)
class Room:
    """What a process may fill late: a pool starts a thread, and opens a connection, when none of its own is free."""

    threads: int = 0
    fds: int = 0


def growth(samples: Sequence[Sample], warm_jobs: int, room: Room = Room()) -> Growth:
    """Fit a line through the memory of ``samples`` after ``warm_jobs``; of the rest compare the highest values.

    What fits in ``room`` is no growth. Nor is a table that doubles, or an arena, wherever it falls: see ``STEPS``.
    """
    warm = [sample for sample in samples if sample.jobs >= warm_jobs]
    line = statistics.linear_regression([sample.jobs for sample in warm], _smooth([one.uss_kib for one in warm]))
    early, late = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    return Growth(
        samples[0],
        samples[-1],
        line.slope * 1000,
        max(room.fds, *(sample.fds for sample in late)) - max(room.fds, *(sample.fds for sample in early)),
        max(room.threads, *(sample.threads for sample in late))
        - max(room.threads, *(sample.threads for sample in early)),
    )


def _smooth(uss_kib: Sequence[float]) -> list[float]:
    """Return the same values with the largest steps between neighbours cut down to the next smaller one.

    What is given back later stays: it is no growth, and its way down alone would hide any other.
    """
    steps = [after - before for before, after in pairwise(uss_kib)]
    usual = sorted(steps)[-1 - STEPS] if len(steps) > STEPS else 0.0
    lowest_from = list(accumulate(reversed(uss_kib), min))[::-1]
    lasting = [lowest - before for before, lowest in zip(uss_kib[:-1], lowest_from[1:], strict=True)]
    cuts = [max(0.0, min(step - usual, kept)) for step, kept in zip(steps, lasting, strict=True)]
    return list(accumulate((step - cut for step, cut in zip(steps, cuts, strict=True)), initial=uss_kib[0]))


@dataclass
class Kind:
    """The keys of one kind."""

    keys: int = 0
    members: int = 0
    """Of lists, sets and the like; of a hash or a string none are counted."""
    lasting: int = 0
    """Keys without an end of their own."""
    blocked: int = 0
    """Tombstones that name an object which is not verified gone."""
    bytes: int = 0


SIZES = {"list": "llen", "set": "scard", "zset": "zcard"}


def keys(store: RedisStore) -> dict[str, Kind]:
    """Return what is in Redis, by kind of key."""
    redis: Any = store._redis
    kinds: dict[str, Kind] = defaultdict(Kind)
    for key in redis.scan_iter(count=1000):
        name = key.removeprefix(store._prefix)
        kind = kinds[name.split(":")[0] if name.startswith(("job:", "tomb:", "pull:", "waiters:")) else name]
        type_name, ttl_ms, size = redis.pipeline().type(key).pttl(key).memory_usage(key).execute()
        kind.keys += 1
        kind.lasting += ttl_ms == -1
        kind.bytes += size or 0
        if type_name in SIZES:
            kind.members += getattr(redis, SIZES[type_name])(key)
        if name.startswith("tomb:"):
            kind.blocked += any(field.startswith("g:") for field in redis.hkeys(key))
    return dict(kinds)
