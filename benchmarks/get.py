"""GET of a record by sixteen clients that never pause, beside a bare Flask app that answers the same from one HGETALL.

Rounds take turns under the same gunicorn; the ratio is the median of the pairs. The bare app's hashes hold the fields
of pman's reply, ready to be sent. The note tells what gunicorn gives without Redis, and without Flask: nothing that
runs on it can be faster.
"""

from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks import http_apps, records
from benchmarks.figure import Figure, Goal, in_turn, median_ratio
from benchmarks.http_apps import CLIENTS, PROCESSES
from testbed.system import System

ROUNDS = 6
ROUND_S = 3.0
JIDS = 100


def measure(folder: Path, scale: float) -> list[Figure]:
    with closing(System(folder / "system", "mock")) as system:
        system.start_redis(aof=False)
        store = system.connect_store()
        http_apps.start_api(system, store)
        bare_port = http_apps.start_bare(system)
        jids = [f"job-{number}" for number in range(JIDS)]
        records.finish(store, records.create(store, "mock", jids))
        http_apps.copy_to_bare(system, jids)

        def per_s(port: int, path: str) -> float:
            return http_apps.wrk(port, "get", path, clients=CLIENTS, jids=JIDS, seconds=ROUND_S * scale)["per_s"]

        apps = {
            "pman": (system.api_port, "/api/v1/"),
            "bare": (bare_port, "/bare/"),
            "flask": (bare_port, "/flask/"),
            "gunicorn": (bare_port, "/gunicorn/"),
        }
        for app in apps.values():
            per_s(*app)  # warm
        rounds = [
            {name: per_s(*apps[name]) for name in (apps if forwards else reversed(apps))}
            for forwards in in_turn(ROUNDS)
        ]
    rates = {name: median(found[name] for found in rounds) for name in apps}
    ratio = median_ratio([(found["pman"], found["bare"]) for found in rounds])
    yardstick = f"Flask + gunicorn + HGETALL: {rates['bare']:,.0f} /s"
    layers = f"a constant from gunicorn alone: {rates['gunicorn']:,.0f} /s, from Flask: {rates['flask']:,.0f} /s"
    return [
        Figure(
            f"GET rate, {CLIENTS} clients, {PROCESSES} API processes",
            Goal(3000, "at least"), rates["pman"], "/s", yardstick, ratio, layers,
        ),
        Figure(
            "GET against Flask + gunicorn + HGETALL",
            Goal(0.8, "at least", "ratio"), rates["pman"], "/s", yardstick, ratio,
        ),
    ]  # fmt: skip
