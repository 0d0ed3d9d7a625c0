"""10,000 active jobs: how long the observer's rounds over all of them take, what they ask, if the API feels it.

The sweep (every minute) lists every object of the scheduler and compares each with its record; the poll (every
RECONCILE_S) asks for all running jobs at once. Both run in a process of their own, on the mock with calls counted.
For the API, GETs at the rate of 1,000 clients that poll every 5 s; in turn with rounds back to back, which is worse
than they ever come, and without.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks import http_apps, records
from benchmarks.figure import Figure, Goal, in_turn, median_ratio, number, percentile
from benchmarks.load import get_paced
from benchmarks.parts import open_mock
from testbed.system import System

ACTIVE = 10_000
PER_S = 200.0
ROUNDS = 6
WINDOW_S = 3.0


class Sweeper:
    """The process of :mod:`benchmarks.sweeper`."""

    def __init__(self, system: System) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sweeper"],
            env=system.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def order(self, kind: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{kind}\n")

    def answer(self) -> tuple[float, int]:
        """Return how long what was ordered took, in s, and how many calls of the scheduler it made."""
        assert self._process.stdout
        answer = json.loads(self._process.stdout.readline())
        return answer["took_s"], sum(answer["calls"].values())

    def do(self, kind: str) -> tuple[float, int]:
        self.order(kind)
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


def measure(folder: Path, scale: float) -> list[Figure]:
    active = round(ACTIVE * scale)
    with closing(System(folder / "system", "mock")) as system:
        system.start_redis(aof=False)
        store = system.connect_store()
        jobs = records.create(store, "mock", [f"job-{number}" for number in range(active)], ["MOCK_RUN_FOR_S=36000"])
        records.submit_to(open_mock(system), store.instance, jobs)
        records.begin(store, jobs)
        http_apps.start_api(system, store)
        with closing(Sweeper(system)) as sweeper:
            first_poll_s, _ = sweeper.do("poll")
            sweeps, polls = [sweeper.do("sweep") for _ in range(3)], [sweeper.do("poll") for _ in range(3)]
            pairs = _latencies_ms(system.api_port, sweeper)
    during, quiet = median(busy for busy, _ in pairs), median(still for _, still in pairs)
    return [
        _duration(f"sweep, {active:,} active jobs", sweeps),
        _calls("sweep, calls of the scheduler", sweeps),
        _duration(f"poll, {active:,} active jobs", polls, f"the first, which reads every record, {first_poll_s:.2f} s"),
        _calls("poll, calls of the scheduler", polls),
        Figure(
            "GET p95 while sweeps run",
            Goal(1.1, "at most", "ratio"),
            during,
            "ms",
            f"without sweeps: {number(quiet)} ms",
            median_ratio(pairs),
            note=f"{PER_S:.0f} GETs per s, sweeps back to back",
        ),
    ]


def _duration(name: str, rounds: list[tuple[float, int]], note: str = "") -> Figure:
    return Figure(name, Goal(2.0, "at most"), median(took_s for took_s, _ in rounds), "s", note=note)


def _calls(name: str, rounds: list[tuple[float, int]]) -> Figure:
    return Figure(name, Goal(1, "at most"), max(calls for _, calls in rounds), "")


def _latencies_ms(port: int, sweeper: Sweeper) -> list[tuple[float, float]]:
    """Return pairs of p95: while sweeps run, and without."""
    jids = [f"job-{number}" for number in range(1000)]

    def sweep_on() -> None:
        until_s = time.monotonic() + WINDOW_S
        while time.monotonic() < until_s:
            sweeper.do("sweep")

    def p95_ms(work: Callable[[], None]) -> float:
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            took_s = get_paced(port, jids, PER_S, working.done)
            working.result()
        return 1000 * percentile(took_s, 0.95)

    def rest() -> None:
        time.sleep(WINDOW_S)

    p95_ms(rest)  # warm
    pairs = []
    for sweep_first in in_turn(ROUNDS):
        order = (sweep_on, rest) if sweep_first else (rest, sweep_on)
        found = {work: p95_ms(work) for work in order}
        pairs.append((found[sweep_on], found[rest]))
    return pairs
