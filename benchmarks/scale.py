"""What 100,000 records cost that 100 do not: GET, the list, and a round of the observer; and what they take of memory.

Two instances in one Redis, each with its own API, measured in turn, so that what the machine does meanwhile hits both.
Both have 50 running jobs, the newest of all; the rest has ended, as on a busy site, where a record stays for a week.
So a GET, a page and a round have the same to do in both, but for the size of what lies behind. Of a GET the processor
time of API and Redis is measured, too: what else the machine does hardly shows in it.

A round of the observer is everything that may fall due in one: the poll, what is to be enqueued, removed, ended,
expired, and the sweep of all native objects. The scheduler holds the running jobs alone: what a sweep costs follows
from the number of native objects, not of records, and is measured by :mod:`benchmarks.sweep`.
"""

import time
from contextlib import closing
from pathlib import Path
from statistics import median

from redis import Redis

from benchmarks import http_apps, records, size
from benchmarks.figure import Figure, Goal, in_turn, median_ratio, number
from benchmarks.http_apps import CLIENTS
from benchmarks.parts import cpu_clock, open_mock, settings_of
from pman_core.broker import QueuePublisher, make_celery
from pman_worker.context import Context
from pman_worker.leader import Leader
from pman_worker.observer import Observer
from testbed.system import System

FEW, MANY = 100, 100_000
RUNNING = 50
ROUNDS = 14
ROUND_S = 1.0
"""Many and short: a machine that slows down shall do so between rounds, not within."""
OBSERVER_ROUNDS = 60
LONGER_THAN_ANY_PERIOD_S = 3600.0


class Site:
    """One instance: its API, its store, and an observer in this process, each of whose rounds has all to do."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.store = records.connect(system.env)
        self._backend = open_mock(system)
        settings = settings_of(system)
        publisher = QueuePublisher(make_celery(settings), "mock", self.store)
        leader = Leader(self.store, "mock", lease_s=3600)
        leader.renew()
        self._now_s = 0.0
        self._observer = Observer(Context(settings, self.store, self._backend, publisher), leader, lambda: self._now_s)

    def run_jobs(self) -> None:
        jids = [f"running-{number}" for number in range(RUNNING)]
        jobs = records.create(self.store, "mock", jids, ["MOCK_RUN_FOR_S=36000"])
        records.submit_to(self._backend, self.store.instance, jobs)
        records.begin(self.store, jobs)

    def observe_ms(self) -> float:
        self._now_s += LONGER_THAN_ANY_PERIOD_S
        began_s = time.perf_counter()
        failures = self._observer.tick()
        if failures:
            raise RuntimeError("a round of the observer failed, see the log above")
        return (time.perf_counter() - began_s) * 1000

    def load_ms(self, kind: str, path: str, ended: int) -> float:
        """Return the mean time of a request under load, in ms of one client."""
        return 1000 * CLIENTS / self._load_per_s(kind, path, ended)

    def get_cpu_ms(self, ended: int) -> float:
        """Return the processor time of the API and of Redis for one GET."""
        with closing(Redis.from_url(self.system.env["REDIS_URL"])) as redis:
            redis_pid = redis.info("server")["process_id"]
        clocks = [cpu_clock(self.system.processes["api"].pid), cpu_clock(redis_pid)]
        before_s = sum(clock() for clock in clocks)
        per_s = self._load_per_s("get", "/api/v1/", ended)
        return 1000 * (sum(clock() for clock in clocks) - before_s) / (per_s * ROUND_S)

    def _load_per_s(self, kind: str, path: str, ended: int) -> float:
        load = http_apps.wrk(self.system.api_port, kind, path, clients=CLIENTS, jids=ended, seconds=ROUND_S)
        return load["per_s"]

    def close(self) -> None:
        self._observer.stand_down()


def measure(folder: Path, scale: float) -> list[Figure]:
    many = round(MANY * scale)
    with closing(System(folder / "many", "mock", {"PMAN_INSTANCE": "many"})) as big:
        big.start_redis(aof=False)
        env = {"PMAN_INSTANCE": "few", "REDIS_URL": big.env["REDIS_URL"]}
        with closing(System(folder / "few", "mock", env)) as small:
            memory = _fill(big, many - RUNNING)
            _fill(small, FEW - RUNNING)
            with closing(Site(big)) as site_many, closing(Site(small)) as site_few:
                for site in (site_many, site_few):
                    site.run_jobs()
                    http_apps.start_api(site.system, site.store)
                return [*_compare(site_many, site_few, many, scale), *memory.figures()]


def _fill(system: System, count: int) -> size.Memory:
    url = system.env["REDIS_URL"]
    with closing(records.Crowd(system.env)) as crowd:
        before = size.used_bytes(url)
        shares = crowd.create([f"job-{number}" for number in range(count)])
        new = size.used_bytes(url)
        crowd.finish(shares)
        return size.Memory(count, before, new, size.used_bytes(url))


def _compare(many: Site, few: Site, count: int, scale: float) -> list[Figure]:
    wrk_rounds = round(ROUNDS * scale)
    gets: list[tuple[float, float]] = []
    costs: list[tuple[float, float]] = []
    lists: list[tuple[float, float]] = []
    rounds: list[tuple[float, float]] = []

    def get_ms(site: Site) -> float:
        return site.load_ms("get", "/api/v1/", ended(site))

    def get_cpu_ms(site: Site) -> float:
        return site.get_cpu_ms(ended(site))

    def ended(site: Site) -> int:
        return (count if site is many else FEW) - RUNNING

    def list_ms(site: Site) -> float:
        return site.load_ms("page", "/jobs/?limit=100", 1)

    plan = (
        (get_ms, gets, wrk_rounds),
        (get_cpu_ms, costs, wrk_rounds),
        (list_ms, lists, wrk_rounds),
        (Site.observe_ms, rounds, OBSERVER_ROUNDS),
    )
    for ask, found, repeats in plan:
        ask(many), ask(few)  # warm
        for many_first in in_turn(repeats):
            order = (many, few) if many_first else (few, many)
            times = {site is many: ask(site) for site in order}
            found.append((times[True], times[False]))
    return [
        _figure(f"GET, {count:,} records against {FEW}", gets),
        _figure(f"processor time of a GET, {count:,} records against {FEW}", costs),
        _figure(f"list of 100, {count:,} records against {FEW}", lists),
        _figure(f"round of the observer, {count:,} records against {FEW}", rounds),
    ]


def _figure(name: str, pairs: list[tuple[float, float]]) -> Figure:
    of_many, of_few = median(many for many, _ in pairs), median(few for _, few in pairs)
    yardstick = f"{FEW} records: {number(of_few)} ms"
    return Figure(name, Goal(1.1, "at most", "ratio"), of_many, "ms", yardstick, median_ratio(pairs))
