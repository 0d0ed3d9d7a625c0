"""GET of a record by sixteen clients that never pause, beside a bare Flask app that answers the same from one HGETALL.

Rounds of both take turns under the same gunicorn; the ratio is the median of the pairs. The bare app's hashes hold the
fields of pman's reply, ready to be sent.
"""

from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks import http_apps, records
from benchmarks.figure import Figure, Goal, in_turn, median_ratio
from benchmarks.http_apps import CLIENTS
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

        apps = {"pman": (system.api_port, "/api/v1/"), "bare": (bare_port, "/bare/")}
        for app in apps.values():
            per_s(*app)  # warm
        pairs = []
        for pman_first in in_turn(ROUNDS):
            order = ("pman", "bare") if pman_first else ("bare", "pman")
            found = {name: per_s(*apps[name]) for name in order}
            pairs.append((found["pman"], found["bare"]))
    rate, yardstick, ratio = median(p for p, _ in pairs), median(b for _, b in pairs), median_ratio(pairs)
    text = f"Flask + gunicorn + HGETALL: {yardstick:,.0f} /s"
    return [
        Figure(f"GET rate, {CLIENTS} clients, 2 API processes", Goal(3000, "at least"), rate, "/s", text, ratio),
        Figure("GET against Flask + gunicorn + HGETALL", Goal(0.8, "at least", "ratio"), rate, "/s", text, ratio),
    ]
