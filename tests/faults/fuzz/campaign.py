"""A campaign: a whole pman, sentinels in it, clients that send what they like, and an audit at the end."""

import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from backends._mock_folder import Folder
from pman_core.store.redis import RedisStore
from testbed.system import System, wait_for
from tests.faults.fuzz import client, sentinels
from tests.faults.fuzz.client import Report

SETTINGS = {
    "LIVE_LOGS_S": "0",  # a GET of a running sentinel would write its log, which is in order
    "REDIS_TIMEOUT_S": "10",  # on a busy machine a second is soon over, and 503 would hide a fault
}


@dataclass
class Outcome:
    report: Report
    seconds: float
    jobs: int
    """Native objects that were made."""


def run(folder: Path, requests: int, seed: int, clients: int) -> Outcome:
    """Run one campaign in ``folder``; ``report.faults`` of the outcome has everything that is wrong."""
    system = System(folder, "mock", env=SETTINGS)
    try:
        system.start_redis()
        system.start_api(processes=2)
        system.start_worker()
        system.start_control_worker()
        system.start_observer()
        system.wait_ready()
        store = system.connect_store()
        sentinels.make(system, store)
        before = sentinels.look(system, store)
        began_s = time.monotonic()
        report = _fire_all(system.api_port, requests, seed, clients)
        seconds = time.monotonic() - began_s
        _wait_quiet(store)
        report.faults += [f"a sentinel has changed: {what}" for what in before.changes(sentinels.look(system, store))]
        jobs = _audit(system, store, report)
        return Outcome(report, seconds, jobs)
    finally:
        system.close()


def _fire_all(port: int, requests: int, seed: int, clients: int) -> Report:
    whole = Report()
    with ProcessPoolExecutor(clients, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [
            pool.submit(client.run, port, str(number), seed * 100 + number, requests // clients)
            for number in range(clients)
        ]
        for task in tasks:
            whole.add(task.result())
    return whole


def _wait_quiet(store: RedisStore) -> None:
    def is_quiet() -> bool:
        counts = store.counts(sentinels.BACKEND)
        return (counts["waiting"], counts["running"], counts["obligations"]) == (0, 2, 0)

    wait_for("every accepted job has ended, every deleted one is gone", is_quiet, 120)


def _audit(system: System, store: RedisStore, report: Report) -> int:
    """Compare what was accepted with the records, with the scheduler and with what the processes say of themselves."""
    explained = report.accepted | {*sentinels.JIDS, sentinels.DELETED}
    folder = Folder(system.folder / "mock")
    runs = folder.runs()
    records = {member.split(" ", 1)[1] for member in _index(store)}
    stray = {jid for jid, _ in runs} - explained
    report.faults += [f"a native object that no accepted POST explains: {jid}" for jid in sorted(stray)]
    report.faults += [f"a record that no accepted POST explains: {jid}" for jid in sorted(records - explained)]
    report.faults += [f"run {count} times: {run}" for run, count in runs.items() if count > 1]
    left = Counter(loaded[0].jid for loaded in map(folder.load, folder.generations()) if loaded)
    # The queued one is another backend's and has no native object here.
    report.faults += [f"not removed: {jid}" for jid in sorted(left.keys() - records)]
    report.faults += [f"two native objects: {jid}" for jid, count in left.items() if count > 1]
    for name, process in system.processes.items():
        if process.poll() is not None:
            report.faults.append(f"{name} has ended: {process.returncode}")
        if "Traceback" in system.output(name):
            report.faults.append(f"{name}: {system.output(name)[system.output(name).index('Traceback') :][:3000]}")
    return len(runs)


def _index(store: RedisStore) -> list[str]:
    members: list[str] = store._redis.zrange(store._key("jobs"), 0, -1)  # type: ignore[assignment]
    return members
