"""How often the scheduler is called for one job that runs for ten minutes and is polled every 5 s: 120 polls.

On the mock with every call counted, ten times faster: the job runs for one minute, LIVE_LOGS_S and RECONCILE_S are a
tenth of their defaults (the sweep still comes once a minute). ``python -m benchmarks.calls`` takes all ten minutes.

Counted are the calls for this job: submit, its logs, its removal. Calls for all jobs at once are the same for one job
and for ten thousand; they are told in the note. Two systems at the same time: as pman is by default, where who polls a
running job is shown its log every LIVE_LOGS_S, and with LIVE_LOGS_S=0.
"""

import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
TIMEOUT_S = 30.0
OLD_CALLS_PER_POLL = 2
"""Of pman 6: find the container, read its log."""


def measure(folder: Path, scale: float) -> list[Figure]:
    return _measure(folder, FASTER / scale)


def _measure(folder: Path, faster: float) -> list[Figure]:
    """Measure with all times shortened ``faster`` times."""
    packages = folder / "packages"
    counted.install(packages)
    sys.path.insert(0, str(packages))
    live_logs_s = load_settings(storebase=folder).live_logs_s
    try:
        with ThreadPoolExecutor() as pool:
            live = pool.submit(_count, folder / "live", packages, faster, live_logs_s)
            plain = pool.submit(_count, folder / "plain", packages, faster, 0.0)
            return [_figure(f"LIVE_LOGS_S={live_logs_s:g}", *live.result()), _figure("LIVE_LOGS_S=0", *plain.result())]
    finally:
        sys.path.remove(str(packages))


def _count(folder: Path, packages: Path, faster: float, live_logs_s: float) -> tuple[Counter[str], int]:
    """Return the calls of the scheduler and the number of polls."""
    reconcile_s = load_settings(storebase=folder).reconcile_s
    env = {"LIVE_LOGS_S": live_logs_s / faster, "RECONCILE_S": reconcile_s / faster, "PYTHONPATH": packages}
    with closing(System(folder, counted.ENV_NAME, {name: str(value) for name, value in env.items()})) as system:
        system.start_redis(aof=False)
        system.start_api(1)
        system.start_worker()
        system.start_observer()
        system.wait_ready()
        polls = _live(system, RUN_S / faster, POLL_S / faster)
        return counted.calls(Path(system.env["MOCK_DIR"])), polls


def _live(system: System, run_s: float, poll_s: float) -> int:
    """Take one job through its life, polled as ChRIS does, each time over a new connection; return how often."""
    url = f"{system.url}/api/v1/"
    body = BODY | {"jid": "long", "env": [f"MOCK_RUN_FOR_S={run_s}"]}
    requests.post(url, json=body, timeout=TIMEOUT_S).raise_for_status()
    polls, begin_s, is_over = 0, time.monotonic(), False
    while not is_over:
        polls += 1
        time.sleep(max(0.0, begin_s + polls * poll_s - time.monotonic()))
        is_over = requests.get(f"{url}long/", timeout=TIMEOUT_S).json()["status"].startswith("finished")
    requests.delete(f"{url}long/", timeout=TIMEOUT_S).raise_for_status()
    store = system.connect_store()
    wait_for("it is removed", lambda: store.counts(system.backend)["obligations"] == 0)
    return polls


def _figure(setting: str, calls: Counter[str], polls: int) -> Figure:
    own = {call: times for call, times in sorted(calls.items()) if call not in counted.SHARED}
    shared = {call: times for call, times in sorted(calls.items()) if call in counted.SHARED}
    count, old = sum(own.values()), OLD_CALLS_PER_POLL * polls
    return Figure(
        f"scheduler calls, {polls} polls, {setting}",
        Goal(5, "at most"),
        count,
        "",
        f"pman 6: {OLD_CALLS_PER_POLL} a poll, {old}",
        count / old,
        note=f"{_words(own)}; for all jobs together meanwhile: {_words(shared)}",
    )


def _words(calls: dict[str, int]) -> str:
    return ", ".join(f"{times} {call}" for call, times in calls.items())


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pman-bench-") as folder:
        for figure in _measure(Path(folder), 1.0):
            print(f"{figure.name}: {figure.measured_text} ({figure.note})")


if __name__ == "__main__":
    main()
