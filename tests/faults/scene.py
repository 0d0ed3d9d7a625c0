"""What the tests on faults need: a system with short times, clients that repeat, and views that must agree."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import redis
import requests

from backends._mock_folder import Faults, Folder
from pman_core.queues import Purpose, key_prefix, queue_name
from testbed.system import System, wait_for
from tests.e2e.jobs import FINISHED, body, prepare, traces

Start = Callable[..., System]

LEASE_S = 12
"""As short as the process backend lets it be."""
TIMES = {"RECONCILE_S": "1", "REQUEUE_S": "1", "OBSERVER_LEASE_S": "2"}
REPLY_MAX_S = 10.0
"""No reply takes longer, whatever is wrong behind the API: a second or two here, and what a busy machine adds."""
GATED = """
import os, sys, time
gate, code, outgoing = sys.argv[1], int(sys.argv[3]), sys.argv[4]
for name in ("runs", "ends"):
    with open(os.path.join(outgoing, name), "a") as trace:
        trace.write("%d\\n" % os.getpid())
    while not os.path.exists(os.path.join(outgoing, gate)):
        time.sleep(0.02)
sys.exit(code)
"""
WIRE_ORDER = ("notstarted", "started", "finished")


def bring_up(
    start: Start,
    backend: str = "process",
    *,
    workers: Sequence[str] = ("worker",),
    observers: Sequence[str] = ("observer",),
    env: Mapping[str, str] | None = None,
    is_redis_there: bool = False,
    **options: Any,
) -> System:
    """Return a system, ready if it has an observer, and all its workers; ``is_redis_there``: Redis is the caller's."""
    lease = {"SUBMIT_LEASE_S": str(LEASE_S)} if backend == "process" else {}
    system = start(backend=backend, env=TIMES | lease | dict(env or {}), **options)
    if not is_redis_there:
        system.start_redis()
    system.start_api()
    for name in workers:
        system.start_worker(name)
    for name in observers:
        system.start_observer(name)
    if observers:
        system.wait_ready()
    for name in workers:
        # One of them is enough to be ready: which, nobody knows, and a fault may be for the other.
        wait_for(f"{name} takes jobs", lambda name=name: "ready." in system.output(name))
    return system


def try_post(system: System, jid: str, *args: Any, timeout_s: float = REPLY_MAX_S, **fields: Any) -> int:
    """POST once; return the code, 0 if there was no answer at all."""
    prepare(system, jid)
    try:
        reply = requests.post(f"{system.url}/api/v1/", json=body(jid, *args, **fields), timeout=timeout_s)
    except requests.RequestException:
        return 0
    return reply.status_code


def post(system: System, jid: str, *args: Any, timeout_s: float = 120, **fields: Any) -> dict[str, Any]:
    """POST as pfcon does, again and again until it is accepted; nothing but 201, 503 and silence is allowed."""
    prepare(system, jid)
    return _until(system, "POST", "/api/v1/", {201}, timeout_s, json=body(jid, *args, **fields))


def get(system: System, jid: str, timeout_s: float = 60) -> dict[str, Any]:
    """Poll until there is an answer: 503 and silence mean "ask again", 404 never comes."""
    return _until(system, "GET", f"/api/v1/{jid}/", {200}, timeout_s)


def _until(system: System, method: str, path: str, good: set[int], timeout_s: float, **options: Any) -> dict[str, Any]:
    def answer() -> dict[str, Any] | None:
        try:
            reply = requests.request(method, f"{system.url}{path}", timeout=3 * REPLY_MAX_S, **options)
        except requests.RequestException:
            return None
        assert reply.status_code in {*good, 503}, reply.text
        record: dict[str, Any] = reply.json()
        return record if reply.status_code in good else None

    return wait_for(f"{method} {path} is answered", answer, timeout_s)


def wait_status(system: System, jid: str, *statuses: str, timeout_s: float = 120) -> dict[str, Any]:
    def record() -> dict[str, Any] | None:
        told = get(system, jid, timeout_s)
        return told if told["status"] in statuses else None

    return wait_for(f"{jid} is {' or '.join(statuses)}", record, timeout_s)


def wait_end(system: System, jid: str, timeout_s: float = 120) -> dict[str, Any]:
    return wait_status(system, jid, *FINISHED, timeout_s=timeout_s)


def ask(system: System, method: str, path: str, **options: Any) -> requests.Response:
    """Send one request and hold it to the longest time that a reply may take."""
    return requests.request(method, f"{system.url}{path}", timeout=REPLY_MAX_S, **options)


def gated(path: str) -> dict[str, Any]:
    """Return the fields of a POST whose job begins, waits until ``path`` in its output folder is there, and ends."""
    return {"entrypoint": [sys.executable, "-c", GATED, path]}


def open_gate(system: System, jid: str, path: str = "gate") -> None:
    """Let a gated job end, and wait until it has done all it does."""
    outgoing = system.store_base / jid / "outgoing"
    (outgoing / path).touch()
    wait_for(f"{jid} has ended by itself", (outgoing / "ends").exists)


def check_ends(system: System, codes: Mapping[str, int], timeout_s: float = 120) -> None:
    """Every job has the end that its own traces tell, and has run once (process backend)."""
    records = {jid: wait_end(system, jid, timeout_s) for jid in codes}
    wait_for("no job runs any more, not a second time either", lambda: not running(system) & codes.keys())
    for jid, code in codes.items():
        expected = "finishedSuccessfully" if code == 0 else "finishedWithError"
        assert (records[jid]["status"], records[jid]["exit_code"]) == (expected, code), records[jid]
        assert (traces(system, jid), traces(system, jid, "ends")) == (1, 1), records[jid]


def running(system: System) -> set[str]:
    """Return the jobs of which a process runs: it works in the job's output folder (process backend)."""
    found = set()
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # it has ended meanwhile, or works elsewhere
            found.add((process / "cwd").readlink().relative_to(system.store_base).parts[0])
    return found


def mock_job(*script: str) -> dict[str, Any]:
    """Return the fields of a POST whose job does on the mock what ``script`` says."""
    return {"env": list(script), "entrypoint": ["mock"]}


def scheduler(system: System) -> Folder:
    """Return the mock's own view."""
    return Folder(system.folder / "mock")


def set_faults(system: System, **faults: Any) -> None:
    """Break the mock, all of it; without arguments, mend it."""
    scheduler(system).faults = Faults.model_validate(faults)


def check_mock_ends(system: System, codes: Mapping[str, int], timeout_s: float = 120) -> None:
    """Every job has the end that its script tells, and the scheduler has started it once."""
    generations = {}
    for jid, code in codes.items():
        record = wait_end(system, jid, timeout_s)
        generations[jid] = record["generation"]
        expected = "finishedSuccessfully" if code == 0 else "finishedWithError"
        assert (record["status"], record["exit_code"]) == (expected, code), record
    runs = scheduler(system).runs()
    assert {jid: runs[jid, generation] for jid, generation in generations.items()} == dict.fromkeys(codes, 1)


@contextmanager
def watched(system: System, jids: Sequence[str]) -> Iterator[None]:
    """Poll like a client meanwhile: no status ever goes back, none is ``undefined``, and an end does not change."""
    seen: dict[str, list[tuple[str, Any]]] = {jid: [] for jid in jids}
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            for jid in jids:
                try:
                    reply = requests.get(f"{system.url}/api/v1/{jid}/", timeout=REPLY_MAX_S)
                except requests.RequestException:
                    continue
                if reply.ok:
                    record = reply.json()
                    told = (record["status"], record["exit_code"])
                    if not seen[jid] or seen[jid][-1] != told:
                        seen[jid].append(told)
            stop.wait(0.05)

    poller = threading.Thread(target=poll, name="poller")
    poller.start()
    try:
        yield
    finally:
        stop.set()
        poller.join()
    for jid, told in seen.items():
        ranks = [_rank(status) for status, _ in told]
        assert ranks == sorted(ranks), (jid, told)
        ends = [item for item in told if item[0] in FINISHED]
        assert len(ends) <= 1, (jid, told)
        assert all(status != "undefined" for status, _ in told), (jid, told)


def _rank(status: str) -> int:
    return WIRE_ORDER.index("finished" if status in FINISHED else status)


def pids(system: System) -> dict[str, int]:
    """Return the processes that live: a fault that ends one of them is found by comparing."""
    return {name: process.pid for name, process in system.processes.items() if process.poll() is None}


def is_idle(system: System) -> bool:
    """Whether no message is waited with or worked on."""
    with redis.Redis(port=system.redis_port) as server:
        queues = [queue_name(system.backend, purpose) for purpose in (Purpose.SUBMIT, Purpose.CONTROL)]
        return not server.exists(*(key_prefix("pman") + name for name in (*queues, "unacked")))


def is_asleep(system: System, name: str) -> bool:
    return psutil.Process(system.processes[name].pid).status() == psutil.STATUS_STOPPED


def put_to_sleep(system: System, worker: str) -> None:
    """Stop the only worker, and wait until its last blocking read is over: what is posted now, it has not taken."""
    system.signal(worker, signal.SIGSTOP)
    with redis.Redis(port=system.redis_port) as server:
        wait_for("nobody waits for messages", lambda: server.info("clients")["blocked_clients"] == 0)


def start_sleeper(system: System, point: str) -> None:
    """Start a worker that falls asleep in its first submit."""
    system.start(
        "sleeper",
        ["-m", "celery", "-A", "tests.e2e.killing_app", "worker", "--pool", "threads", "--concurrency", "2", "-E"],
        {
            "KILL_AT": point,
            "KILL_SIGNAL": "SIGSTOP",
            "KILL_MARK": str(system.folder / "asleep"),
            "PYTHONPATH": str(Path.cwd()),
        },
    )
