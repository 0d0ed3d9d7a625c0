"""What one job costs, by process: processor time, commands of Redis, bytes of its AOF. The base of capacity planning.

``python -m benchmarks.cost [--jobs 3000]``. Processor time hardly depends on what else the machine does, so this holds
where a rate would not. Three kinds of work, each for itself: a job from POST to its terminal record on the mock, whose
small files the worker and the observer pay; one GET; one DELETE until the object is verified gone. Under load: some of
the work (acknowledgements, events, writes of the observer) is done in bundles. What the processes do when nobody asks
for anything is measured first and taken off.

Beside it the bare Celery task of :mod:`benchmarks.dispatch`: its worker, and in the row of the API its publisher.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.dispatch import Echo
from benchmarks.load import delete_bytes, get_bytes, post_all, send_all
from benchmarks.parts import cpu_clock
from testbed.system import System

CLIENTS = 16
IDLE_S = 10.0
PATIENCE_S = 300.0
PROCESSES = ("api", "worker", "observer", "redis")
COMMANDS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Reading:
    """What has been used up so far."""

    at_s: float
    cpu_s: dict[str, float]
    commands: dict[str, int]
    aof_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of work, or of one second of idleness."""

    cpu_ms: dict[str, float]
    commands: dict[str, float]
    aof_bytes: float


class Meter:
    """Reads the processor time of each process, and Redis' own count of its commands."""

    def __init__(self, system: System, clocks: dict[str, Callable[[], float]]) -> None:
        self._redis = Redis.from_url(system.env["REDIS_URL"], decode_responses=True)
        self._clocks = clocks | {"redis": cpu_clock(self._redis.info("server")["process_id"])}

    def read(self) -> Reading:
        stats = self._redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        aof_bytes = self._redis.info("persistence")["aof_current_size"]
        return Reading(time.monotonic(), {name: clock() for name, clock in self._clocks.items()}, commands, aof_bytes)

    def cost(self, work: Callable[[], object], count: int, idle: Cost | None = None) -> Cost:
        """Return what one of ``count`` pieces of ``work`` costs, beyond what ``idle`` would have cost meanwhile."""
        before = self.read()
        work()
        after = self.read()
        took_s = after.at_s - before.at_s

        def share(used: float, idle_per_s: float) -> float:
            return (used - idle_per_s * took_s) / count

        cpu_ms = {
            name: share(1000 * (after.cpu_s[name] - before.cpu_s[name]), idle.cpu_ms[name] if idle else 0.0)
            for name in self._clocks
        }
        commands = {
            name: share(times - before.commands.get(name, 0), idle.commands.get(name, 0.0) if idle else 0.0)
            for name, times in after.commands.items()
        }
        aof_bytes = share(after.aof_bytes - before.aof_bytes, idle.aof_bytes if idle else 0.0)
        return Cost(cpu_ms, commands, aof_bytes)


def measure(folder: Path, jobs: int) -> dict[str, Cost]:
    with closing(System(folder, "mock")) as system:
        system.start_redis()
        system.start_api(2)
        system.start_worker()
        system.start_observer()
        system.wait_ready()
        store = system.connect_store()

        def dispatch(name: str, count: int) -> None:
            ended = store.counts("mock")["terminal"] + count
            post_all(system.api_port, [f"{name}-{number}" for number in range(count)], CLIENTS)
            _wait(lambda: store.counts("mock")["terminal"] == ended)

        def delete() -> None:
            send_all(system.api_port, [delete_bytes(jid) for jid in jids], CLIENTS)
            _wait(lambda: store.counts("mock")["obligations"] == 0)

        dispatch("warm", 200)
        meter = Meter(system, {name: cpu_clock(system.processes[name].pid) for name in ("api", "worker", "observer")})
        idle = meter.cost(lambda: time.sleep(IDLE_S), round(IDLE_S))
        jids = [f"job-{number}" for number in range(jobs)]
        costs = {
            "job": meter.cost(lambda: dispatch("job", jobs), jobs, idle),
            "GET": meter.cost(
                lambda: send_all(system.api_port, [get_bytes(jid) for jid in jids], CLIENTS), jobs, idle
            ),
            "DELETE": meter.cost(delete, jobs, idle),
            "idle, per s": idle,
        }  # fmt: skip
        echo = Echo(system)
        echo.per_s(200)
        echo_meter = Meter(system, {"api": time.process_time, "worker": cpu_clock(system.processes["echo"].pid)})
        return costs | {"bare echo": echo_meter.cost(lambda: echo.per_s(jobs), jobs)}


def _wait(is_done: Callable[[], bool]) -> None:
    """Wait, and ask so seldom that the questions do not count."""
    until_s = time.monotonic() + PATIENCE_S
    while not is_done():
        if time.monotonic() > until_s:
            raise TimeoutError(f"not done within {PATIENCE_S:g} s")
        time.sleep(0.5)


def print_costs(console: Console, costs: dict[str, Cost], title: str) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("processor time, ms")
    for kind in costs:
        table.add_column(kind, justify="right")
    for name in PROCESSES:
        table.add_row(name, *(f"{cost.cpu_ms.get(name, 0.0):.2f}" for cost in costs.values()))
    sums = (f"{sum(cost.cpu_ms.values()):.2f}" for cost in costs.values())
    table.add_row("sum", *sums, style="bold", end_section=True)
    table.add_row("bytes of the AOF", *(f"{cost.aof_bytes:,.0f}" for cost in costs.values()), end_section=True)
    names = sorted(costs["job"].commands, key=lambda name: -costs["job"].commands[name])
    table.add_row("commands of Redis", *(f"{sum(cost.commands.values()):.1f}" for cost in costs.values()), style="bold")
    for name in names[:COMMANDS_SHOWN]:
        table.add_row(f"  {name}", *(f"{cost.commands.get(name, 0.0):.2f}" for cost in costs.values()))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pman-bench-") as folder:
        costs = measure(Path(folder) / "system", options.jobs)
    print_costs(Console(width=120), costs, f"{machine.describe()}, load {machine.load()}; {options.jobs} jobs")


if __name__ == "__main__":
    main()
