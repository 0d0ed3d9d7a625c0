"""POST: the time of one, and of sixteen clients that never pause. Load from wrk, both API processes on this machine.

A POST validates the body, creates the record and pushes the message; nobody takes the messages while it is measured.
The yardstick writes a hash of two fields and pushes the jid. Each wrk run has jids of its own: every POST is new.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks import http_apps
from benchmarks.figure import Figure, Goal, in_turn, median_ratio, number
from benchmarks.http_apps import CLIENTS, Load
from testbed.system import System

ROUNDS = 3
ROUND_S = 3.0


def measure(folder: Path, scale: float) -> list[Figure]:
    with closing(System(folder / "system", "mock")) as system:
        system.start_redis(aof=False)
        http_apps.start_api(system, system.connect_store())
        bare_port = http_apps.start_bare(system)

        def pman(clients: int) -> Load:
            return http_apps.wrk(system.api_port, "post", "/api/v1/", clients=clients, jids=0, seconds=ROUND_S * scale)

        def bare(clients: int) -> Load:
            return http_apps.wrk(bare_port, "post", "/bare/", clients=clients, jids=0, seconds=ROUND_S * scale)

        pman(CLIENTS), bare(CLIENTS)  # warm
        serial, many = [], []
        for pman_first in in_turn(ROUNDS):
            serial.append(_pair(pman, bare, 1, pman_first=pman_first))
            many.append(_pair(pman, bare, CLIENTS, pman_first=pman_first))
    return [
        _figure("POST p50, serial", Goal(2.0, "at most"), serial, "p50_ms"),
        _figure(f"POST p95, {CLIENTS} clients", Goal(25.0, "at most"), many, "p95_ms"),
        _figure(f"POST rate, {CLIENTS} clients", Goal(800.0, "at least"), many, "per_s"),
    ]


def _pair(
    pman: Callable[[int], Load], bare: Callable[[int], Load], clients: int, *, pman_first: bool
) -> tuple[Load, Load]:
    if pman_first:
        return pman(clients), bare(clients)
    yardstick = bare(clients)
    return pman(clients), yardstick


def _figure(name: str, goal: Goal, pairs: list[tuple[Load, Load]], key: str) -> Figure:
    unit = "ms" if key.endswith("_ms") else "/s"
    yardstick = median(bare[key] for _, bare in pairs)
    return Figure(
        name,
        goal,
        median(pman[key] for pman, _ in pairs),
        unit,
        yardstick=f"bare Flask + HSET, LPUSH: {number(yardstick)} {unit}",
        ratio=median_ratio([(pman[key], bare[key]) for pman, bare in pairs]),
    )
