"""10,000 active jobs: how long the observer's rounds over all of them take, what they ask, if the API feels it.

The sweep (every minute) lists every object of the scheduler and compares each with its record; the poll (every
RECONCILE_S) asks for all running jobs at once. Both run in a process of their own, on the mock with calls counted.
For the API, GETs at the rate of 1,000 clients that poll every 5 s; in turn with sweeps back to back, which is worse
than they ever come, and without. Where the cores are few, the note tells what belongs to them: the same GETs beside a
process that only computes.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import http_apps, records
from benchmarks.figure import Figure, Goal, median_ratio, number, percentile
from benchmarks.load import get_paced
from benchmarks.parts import open_mock
from testbed.system import System

ACTIVE = 10_000
PER_S = 200.0
ROUNDS = 6
WINDOW_S = 2.5
ORDERS = ("sweep", "compute", "rest")


@dataclass(frozen=True, slots=True)
class Round:
    """One answer of the sweeper."""

    took_s: float
    cpu_s: float
    calls: int


class Sweeper:
    """The process of :mod:`benchmarks.sweeper`."""

    def __init__(self, system: System) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sweeper"],
            env=system.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def do(self, order: str) -> Round:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{order}\n")
        return Round(**json.loads(self._process.stdout.readline()))

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
            first_poll = sweeper.do("poll")
            sweeps, polls = [sweeper.do("sweep") for _ in range(3)], [sweeper.do("poll") for _ in range(3)]
            latencies = [_p95_ms(system.api_port, sweeper, turn=turn) for turn in range(ROUNDS)]
    sweeping, computing, resting = (median(found[order] for found in latencies) for order in ORDERS)
    return [
        _duration(f"sweep, {active:,} active jobs", sweeps),
        _calls("sweep, calls of the scheduler", sweeps),
        _duration(f"poll, {active:,} active jobs", polls, f"; the first reads every record: {first_poll.took_s:.2f} s"),
        _calls("poll, calls of the scheduler", polls),
        Figure(
            "GET p95 while sweeps run",
            Goal(1.1, "at most", "ratio"),
            sweeping,
            "ms",
            f"without sweeps: {number(resting)} ms",
            median_ratio([(found["sweep"], found["rest"]) for found in latencies]),
            note=f"{PER_S:.0f} GETs per s, sweeps back to back; beside a process that only computes "
            f"{number(computing)} ms, {median(found['sweep'] / found['compute'] for found in latencies):.2f} of that",
        ),
    ]


def _duration(name: str, rounds: list[Round], more: str = "") -> Figure:
    cpu_s = median(each.cpu_s for each in rounds)
    note = f"{cpu_s:.2f} s of processor time of the observer{more}"
    return Figure(name, Goal(2.0, "at most"), median(each.took_s for each in rounds), "s", note=note)


def _calls(name: str, rounds: list[Round]) -> Figure:
    return Figure(name, Goal(1, "at most"), max(each.calls for each in rounds), "")


def _p95_ms(port: int, sweeper: Sweeper, *, turn: int) -> dict[str, float]:
    """Return the p95 of GET beside each of ``ORDERS``; each turn begins with another one."""
    jids = [f"job-{number}" for number in range(1000)]

    def go_on(order: str) -> None:
        until_s = time.monotonic() + WINDOW_S
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(left_s) if order == "rest" else sweeper.do(order)

    def beside(order: str) -> float:
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(go_on, order)
            took_s = get_paced(port, jids, PER_S, working.done)
            working.result()
        return 1000 * percentile(took_s, 0.95)

    first = turn % len(ORDERS)
    return {order: beside(order) for order in ORDERS[first:] + ORDERS[:first]}
