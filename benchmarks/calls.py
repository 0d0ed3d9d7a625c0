"""How often the scheduler is called for one job that runs for ten minutes and is polled every 5 s: 120 polls.

On the mock with every call counted, ten times faster: the job runs for one minute, and every period that could cause a
call is a tenth of its default. ``python -m benchmarks.calls`` takes the real ten minutes.

Counted are the calls for this job: submit, its log, its removal. Calls for all jobs at once are the same for one job
and for ten thousand; they are told in the note.
"""

import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import requests

from benchmarks import counted
from benchmarks.figure import Figure, Goal
from benchmarks.load import BODY
from pman_core.settings import load_settings
from testbed.system import System, wait_for

RUN_S, POLL_S = 600.0, 5.0
FASTER = 10.0
OLD_CALLS_PER_POLL = 2
"""Of pman 6: find the container, read its log."""


def measure(folder: Path, scale: float) -> list[Figure]:
    return [_figure(count(folder, FASTER / scale))]


def count(folder: Path, faster: float) -> tuple[Counter[str], int]:
    """Return the calls of the scheduler and the number of polls, with all times shortened."""
    counted.install(folder / "packages")
    sys.path.insert(0, str(folder / "packages"))
    try:
        defaults = load_settings(storebase=folder)
        periods = {"LIVE_LOGS_S": defaults.live_logs_s, "RECONCILE_S": defaults.reconcile_s}
        env = {name: str(period_s / faster) for name, period_s in periods.items()}
        env["PYTHONPATH"] = str(folder / "packages")
        with closing(System(folder / "system", counted.ENV_NAME, env)) as system:
            system.start_redis(aof=False)
            system.start_api(1)
            system.start_worker()
            system.start_observer()
            system.wait_ready()
            polls = _live(system, RUN_S / faster, POLL_S / faster)
            return counted.calls(Path(system.env["MOCK_DIR"])), polls
    finally:
        sys.path.remove(str(folder / "packages"))


def _live(system: System, run_s: float, poll_s: float) -> int:
    """Take one job through its life, polled by its client as ChRIS does; return how often it was polled."""
    url = f"{system.url}/api/v1/"
    with requests.Session() as session:
        session.post(url, json=BODY | {"jid": "long", "env": [f"MOCK_RUN_FOR_S={run_s}"]}, timeout=5).raise_for_status()
        polls, begin_s = 0, time.monotonic()
        while True:
            polls += 1
            time.sleep(max(0.0, begin_s + polls * poll_s - time.monotonic()))
            if session.get(f"{url}long/", timeout=5).json()["status"].startswith("finished"):
                break
        session.delete(f"{url}long/", timeout=5).raise_for_status()
    store = system.connect_store()
    wait_for("it is removed", lambda: store.counts(system.backend)["obligations"] == 0)
    return polls


def _figure(found: tuple[Counter[str], int]) -> Figure:
    calls, polls = found
    own = {call: times for call, times in sorted(calls.items()) if call not in counted.SHARED}
    shared = {call: times for call, times in sorted(calls.items()) if call in counted.SHARED}
    old = OLD_CALLS_PER_POLL * polls
    return Figure(
        f"scheduler calls of a 10-minute job, {polls} polls", Goal(5, "at most"), sum(own.values()), "",
        f"pman 6: {OLD_CALLS_PER_POLL} for each poll, {old}", sum(own.values()) / old,
        note=f"{_words(own)}; for all jobs together in that time: {_words(shared)}",
    )  # fmt: skip


def _words(calls: dict[str, int]) -> str:
    return ", ".join(f"{times} {call}" for call, times in calls.items())


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pman-bench-") as folder:
        figure = _figure(count(Path(folder), 1.0))
    print(f"{figure.name}: {figure.measured_text} ({figure.note})")


if __name__ == "__main__":
    main()
