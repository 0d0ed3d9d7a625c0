"""How often the scheduler is called for one job that runs for ten minutes and is polled every 5 s: 120 polls.

On the mock with every call counted, ten times faster: the job runs for one minute, LIVE_LOGS_S and RECONCILE_S are a
tenth of their defaults (the sweep still comes once a minute). ``python -m benchmarks.calls`` takes all ten minutes;
``--docker`` does so on a real engine.

Counted are the calls for this job: submit, the log of its end, removal. Not counted, but told in the note, are calls
that are for all jobs at once, the same for one job and for ten thousand. Reads of the log while the job runs have a
budget of their own, one per LIVE_LOGS_S while somebody polls. So two systems run at the same time, one without such
reads and one as pman is by default.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from benchmarks import counted
from benchmarks.figure import Figure, Goal
from benchmarks.load import BODY
from pman_core.settings import load_settings
from testbed import engines
from testbed.engine_proxy import EngineProxy
from testbed.system import System, wait_for
from tests.engines import jobs

RUN_S, POLL_S = 600.0, 5.0
FASTER = 10.0
JID = "long"
Found = tuple[Counter[str], int]
"""The calls of the scheduler, and the number of polls."""
SHARED_ON_DOCKER = frozenset({"GET /events", "GET /containers/json", "GET /_ping", "GET /info", "GET /version"})
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
            plain = pool.submit(_count, folder / "plain", packages, faster, 0.0)
            live = pool.submit(_count, folder / "live", packages, faster, live_logs_s)
            return _figures("", counted.SHARED, plain.result(), live.result(), RUN_S / live_logs_s)
    finally:
        sys.path.remove(str(packages))


def _count(folder: Path, packages: Path, faster: float, live_logs_s: float) -> Found:
    """Return the calls of the scheduler and the number of polls."""
    reconcile_s = load_settings(storebase=folder).reconcile_s
    env = {"LIVE_LOGS_S": live_logs_s / faster, "RECONCILE_S": reconcile_s / faster, "PYTHONPATH": packages}
    with closing(System(folder, counted.ENV_NAME, {name: str(value) for name, value in env.items()})) as system:
        body = BODY | {"jid": JID, "env": [f"MOCK_RUN_FOR_S={RUN_S / faster}"]}
        polls = _live(system, body, POLL_S / faster)
        return counted.calls(Path(system.env["MOCK_DIR"])), polls


def _count_on_docker(folder: Path, engine: str, run_s: float, live_logs_s: float) -> Found:
    """Return the same of a real engine, as a proxy in front of it sees its calls."""
    folder.mkdir()
    with closing(EngineProxy(Path(engine.removeprefix("unix://")), folder / "engine.sock")) as proxy:
        env = {"DOCKER_HOST": proxy.url, "LIVE_LOGS_S": str(live_logs_s), "PMAN_INSTANCE": f"bench-{folder.name}"}
        with closing(System(folder / "system", "docker", env)) as system:
            body = jobs.body(JID, f"exec sleep {run_s:g}")
            for name in ("input_dir", "output_dir"):
                (system.store_base / body[name]).mkdir(parents=True)
            polls = _live(system, body, POLL_S)
        return proxy.calls(), polls


def _live(system: System, body: dict[str, Any], poll_s: float) -> int:
    """Take one job through its life, polled as ChRIS does, each time over a new connection; return how often."""
    system.start_redis(aof=False)
    system.start_api(1)
    system.start_worker()
    system.start_observer()
    system.wait_ready()
    url = f"{system.url}/api/v1/"
    requests.post(url, json=body, timeout=TIMEOUT_S).raise_for_status()
    polls, begin_s, is_over = 0, time.monotonic(), False
    while not is_over:
        polls += 1
        time.sleep(max(0.0, begin_s + polls * poll_s - time.monotonic()))
        is_over = requests.get(f"{url}{JID}/", timeout=TIMEOUT_S).json()["status"].startswith("finished")
    requests.delete(f"{url}{JID}/", timeout=TIMEOUT_S).raise_for_status()
    store = system.connect_store()
    wait_for("it is removed", lambda: store.counts(system.backend)["obligations"] == 0)
    return polls


def _figures(where: str, shared_calls: Set[str], plain: Found, live: Found, live_logs_max: float) -> list[Figure]:
    calls, polls = plain
    own, shared = (
        {call: times for call, times in sorted(calls.items()) if (call in shared_calls) is is_shared}
        for is_shared in (False, True)
    )
    old = OLD_CALLS_PER_POLL * polls
    reads, reads_at_end = (sum(times for call, times in found[0].items() if "logs" in call) for found in (live, plain))
    return [
        Figure(
            f"scheduler calls of a job polled {polls} times{where}",
            Goal(5, "at most"),
            sum(own.values()),
            "",
            f"pman 6: {OLD_CALLS_PER_POLL} a poll, {old}",
            sum(own.values()) / old,
            note=f"{_words(own)}; for all jobs together meanwhile: {_words(shared)}",
        ),
        Figure(f"reads of its log while it runs{where}", Goal(live_logs_max, "at most"), reads - reads_at_end, ""),
    ]


def _words(calls: dict[str, int]) -> str:
    return ", ".join(f"{times} {call}" for call, times in calls.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docker", action="store_true", help="on a real engine, see testbed/README.md")
    parser.add_argument("--minutes", type=float, default=RUN_S / 60, help="of the job on the engine; default 10")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pman-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        found = _measure_docker(folder, options.minutes * 60) if options.docker else _measure(folder, 1.0)
    for figure in found:
        print(f"{figure.name}: {figure.measured_text} ({figure.note})")


def _measure_docker(folder: Path, run_s: float) -> list[Figure]:
    engine = engines.docker_url()
    if engine is None:
        raise SystemExit("no Docker answers, see testbed/README.md")
    live_logs_s = load_settings(storebase=folder).live_logs_s
    with ThreadPoolExecutor() as pool:
        plain = pool.submit(_count_on_docker, folder / "plain", engine, run_s, 0.0)
        live = pool.submit(_count_on_docker, folder / "live", engine, run_s, live_logs_s)
        return _figures(", on Docker", SHARED_ON_DOCKER, plain.result(), live.result(), run_s / live_logs_s)


if __name__ == "__main__":
    main()
