"""One soak: a whole pman with a short retention, thousands of jobs through it, and what is left of them."""

import runpy
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

import pman_api
from backends._mock_folder import Folder
from pman_core.queues import worker_queues
from pman_core.store.redis import RedisStore
from testbed.system import System, wait_for
from tests.faults.leaks import jobs, measure
from tests.faults.leaks.measure import Growth, Kind, Room, Sample

BACKEND, HOST = "mock", "host-a"
RETENTION_S = 5.0
SETTINGS = {
    "RETENTION_HOURS": repr(RETENTION_S / 3600),
    "RECONCILE_S": "1",
    "LIVE_LOGS_S": "0.1",
    "REDIS_TIMEOUT_S": "10",
}
SAMPLES = 200
FDS_MORE_MAX = 4
THREADS_MORE_MAX = 2
CLIENTS = 32
OWN_FDS = 12
"""Standard streams, logs, the event loop, the broker: what each process has before the first job."""
WORKER_THREADS, CONTROL_THREADS = 8, 4
ORDERS = "_kombu.binding.celery.pidbox"
LEFT_BEHIND = ("jobs", "starts", "ends")
"""Folders of the mock that hold something of each job while it is there. What it was asked for is kept for audits."""


@dataclass
class Outcome:
    seconds: float
    growths: dict[str, Growth]
    before: dict[str, Kind]
    after: dict[str, Kind]
    native: dict[str, int]
    """What the scheduler still has, by folder."""


def run(folder: Path, count: int, warm: int) -> Outcome:
    """Lead ``count`` jobs through a system in ``folder``; growth is measured from the ``warm``-th job on."""
    system = System(folder, BACKEND, env=SETTINGS)
    try:
        system.start_redis()
        system.start_api(processes=2)
        system.start_worker(host=HOST, concurrency=WORKER_THREADS)
        system.start_control_worker(host=HOST, concurrency=CONTROL_THREADS)
        system.start_observer()
        system.wait_ready()
        store = system.connect_store()
        wait_for("both workers listen to orders", lambda: store._redis.scard(store._key(ORDERS)) == 2)
        before = measure.keys(store)
        samples: dict[str, list[Sample]] = defaultdict(list)
        watched = measure.processes(system)
        rooms = {name: _room(name) for name in watched}
        _fill_pools(system, {process: rooms[name].threads for name, process in watched.items() if "api" in name})
        period = max(1, count // SAMPLES)

        def done(ended: int) -> None:
            if ended % period == 0:
                for name, process in watched.items():
                    samples[name].append(measure.look(process, ended))

        began_s = time.monotonic()
        jobs.live_all(system.api_port, count, CLIENTS, done)
        seconds = time.monotonic() - began_s
        _wait_forgotten(store)
        return Outcome(
            seconds,
            {name: measure.growth(taken, warm, rooms[name]) for name, taken in samples.items()},
            before,
            measure.keys(store),
            {name: sum(1 for _ in (Folder(folder / "mock").path / name).iterdir()) for name in LEFT_BEHIND},
        )
    finally:
        system.close()


def _room(name: str) -> Room:
    """Return the pool of one process with its main thread, and a connection to Redis for each thread.

    The API has besides one of each client, however they fall on its processes.
    """
    if name.startswith("api"):
        threads = int(runpy.run_path(str(Path(pman_api.__file__).parent / "gunicorn.conf.py"))["threads"]) + 1
        return Room(threads, OWN_FDS + threads + CLIENTS)
    threads = {"worker": WORKER_THREADS, "control": CONTROL_THREADS, "observer": 0}[name] + 1
    return Room(threads, OWN_FDS + threads)


def _fill_pools(system: System, apis: dict[psutil.Process, int]) -> None:
    """Let each process of the API start all its threads: Redis sleeps until as many requests wait for it.

    Each new thread takes memory for itself. On a busy machine they begin late, one by one, and look like a leak.
    One process after the other, as both take from one socket and any of them may take nearly all.
    """
    server = psutil.Process(int(system.connect_store()._redis.info("server")["process_id"]))
    for api, most in apis.items():
        with ThreadPoolExecutor(most) as crowd, _asleep(server, *(apis.keys() - {api})):
            for _ in range(most):
                crowd.submit(requests.get, f"{system.url}/api/v1/nobody/", timeout=60)
            _wait_threads(api, most)
    system.wait_ready()


def _wait_threads(process: psutil.Process, count: int) -> None:
    wait_for(f"all threads of {process.pid} have begun", lambda: process.num_threads() >= count)


@contextmanager
def _asleep(*processes: psutil.Process) -> Iterator[None]:
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def _wait_forgotten(store: RedisStore) -> None:
    def is_forgotten() -> bool:
        return not any(store.counts(BACKEND).values())

    wait_for("every job is past its retention and gone", is_forgotten, 300)
    # What the observer has done already may wait in the queues of a busy worker still, as a message.
    queues = [store._key(name) for name in (*worker_queues(BACKEND, HOST), "unacked")]
    wait_for("no message is left", lambda: not store._redis.exists(*queues))


def faults(outcome: Outcome, kib_per_1000_max: float) -> list[str]:
    """Return what is not flat."""
    found = []
    for name, grown in outcome.growths.items():
        if grown.kib_per_1000 > kib_per_1000_max:
            found.append(f"{name} grows by {grown.kib_per_1000:.0f} KiB per 1,000 jobs")
        if grown.more_fds > FDS_MORE_MAX or grown.more_threads > THREADS_MORE_MAX:
            found.append(f"{name} has {grown.more_fds} more file descriptors, {grown.more_threads} more threads")
    for kind in outcome.after.keys() - {"tomb"}:
        was = outcome.before.get(kind, Kind())
        now = outcome.after[kind]
        if (now.keys, now.members) != (was.keys, was.members) and now.lasting:
            found.append(f"{now.keys} keys {kind} with {now.members} members, before: {was.keys} with {was.members}")
    tombs = outcome.after.get("tomb", Kind())
    if tombs.lasting or tombs.blocked:
        found.append(f"of {tombs.keys} tombstones {tombs.lasting} last for ever, {tombs.blocked} name an object")
    found += [f"the scheduler still has {left} {name}" for name, left in outcome.native.items() if left]
    return found
