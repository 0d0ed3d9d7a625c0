"""All of pman before a Cromwell: the fake one of ``tests/fakes/cromwell``, here as a process that can be killed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from testbed.ports import free_port
from testbed.system import System, wait_for
from tests.e2e.jobs import FINISHED, LASTING_S, get, has_begun, post, traces, wait_end, wait_status
from tests.fakes import cromwell as fake
from tests.fakes.cromwell import DEFAULT, LOCAL, FakeCromwell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]

Start = Callable[..., System]
BARE = {"HPC_RUNTIME": "none", "HPC_ANY_IMAGE": "yes", "RECONCILE_S": "2", "REQUEUE_S": "1"}
CONF = Path(fake.__file__).with_name("local.conf")
SCALE = 0.1


def begin(start: Start, url: str) -> System:
    system = start(backend="cromwell", env=BARE | {"CROMWELL_URL": url})
    system.start_all()
    return system


def with_process(start: Start) -> System:
    """Return a system whose Cromwell is its process ``cromwell``."""
    port = free_port()
    system = begin(start, f"http://127.0.0.1:{port}")
    system.start(
        "cromwell",
        ["-m", "tests.fakes.cromwell", str(CONF), str(system.folder / "cromwell"), str(port), str(SCALE)],
    )
    wait_for("Cromwell answers", lambda: answers(port))
    system.wait_ready()
    return system


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/engine/v1/version", timeout=30).ok
    except requests.RequestException:
        return False


def ends_true(system: System, jid: str, code: int) -> None:
    record = wait_end(system, jid, timeout_s=150)
    assert record["status"] == ("finishedWithError" if code else "finishedSuccessfully"), record
    assert (record["exit_code"], record["logs"].strip()) == (code, "working"), record
    assert traces(system, jid) == traces(system, jid, "ends") == 1


def test_forty_jobs_of_eight_clients_end_true(start: Start) -> None:
    system = with_process(start)

    def client(number: int) -> None:
        jobs = {f"c{number}-{one}": one % 3 for one in range(5)}
        for jid, code in jobs.items():
            post(system, jid, 0.2, code)
        for jid, code in jobs.items():
            ends_true(system, jid, code)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))


def test_cromwell_is_killed_and_comes_back_and_every_job_ends_true_once(start: Start) -> None:
    system = with_process(start)
    jobs = {f"before-{number}": number % 2 for number in range(8)}
    for jid, code in jobs.items():
        post(system, jid, 4, code)
    wait_for("some run", lambda: sum(has_begun(system, jid) for jid in jobs) >= 3)
    system.kill("cromwell")
    while_away = {f"away-{number}": 0 for number in range(4)}
    for jid in while_away:
        post(system, jid, 0.2)
    begun = [jid for jid in jobs if has_begun(system, jid)]
    wait_for("those that ran have ended without it", lambda: all(traces(system, jid, "ends") for jid in begun))
    assert all(get(system, jid)["status"] in {"notstarted", "started", *FINISHED} for jid in jobs)
    assert all(get(system, jid)["status"] != "undefined" for jid in jobs)
    system.restart("cromwell")
    for jid, code in {**jobs, **while_away}.items():
        ends_true(system, jid, code)


def test_what_is_deleted_ends_though_cromwell_was_away(start: Start) -> None:
    system = with_process(start)
    post(system, "long", 600)
    wait_status(system, "long", "started")
    system.kill("cromwell")
    assert requests.delete(f"{system.url}/api/v1/long/", timeout=30).status_code == 204
    assert requests.get(f"{system.url}/api/v1/long/", timeout=30).status_code == 404
    system.restart("cromwell")
    # It takes its time to start, and who has found it away so often asks again after a minute at the most.
    wait_for("its processes are gone", lambda: not is_running(system, "long"), 150)
    post(system, "long", 0.1)
    wait_end(system, "long", timeout_s=150)


def is_running(system: System, jid: str) -> bool:
    outgoing = str(system.store_base / jid / "outgoing").encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if outgoing in process.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_twenty_jobs_start_at_once_though_cromwell_starts_one_workflow_per_poll(start: Start, tmp_path: Path) -> None:
    # It polls when it is told to: a busy machine spreads twenty submits over as many polls as it likes.
    timing = replace(DEFAULT.scaled(SCALE), new_workflow_poll_s=LASTING_S)
    with FakeCromwell(tmp_path / "cromwell", LOCAL.but(timing=timing)) as cromwell:
        system = begin(start, cromwell.url)
        system.wait_ready()
        jids = [f"job-{number}" for number in range(20)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda jid: post(system, jid, 0.1), jids))
        wait_for("Cromwell has all of them", lambda: len(cromwell.workflows) == 20, 150)
        assert cromwell.engine is not None
        assert cromwell.engine.started == []
        cromwell.hurry("new_workflow_poll_s")
        assert len(cromwell.engine.started) == 20
        for jid in jids:
            ends_true(system, jid, 0)
        assert len(cromwell.engine.started) == 20
