"""Bad nights, with real processes: what is killed, stopped or wiped, and that every job's state is still true."""

import itertools
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from testbed.system import System, wait_for
from tests.e2e.jobs import (
    LASTING_S,
    body,
    get,
    has_begun,
    let_end,
    post,
    prepare,
    traces,
    wait_end,
    wait_status,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

LEASE_S = 12
OUTAGE_S = 20.0
HANG_S = 60.0
"""A reply that waits for Redis never comes: the outage goes on until all are there. The others are refused at once."""
HOSTS_S = 60.0
Start = Callable[..., System]


def bring_up(start: Start, **env: str) -> System:
    system = start(env={"RECONCILE_S": "1", "REQUEUE_S": "1", "SUBMIT_LEASE_S": str(LEASE_S)} | env)
    system.start_all()
    system.wait_ready()
    return system


@pytest.mark.parametrize("point", ["before-call", "after-call", "before-ack"])
def test_a_worker_killed_at_any_point_of_a_submit_leaves_one_run_and_a_true_end(start: Start, point: str) -> None:
    system = start(env={"RECONCILE_S": "1", "REQUEUE_S": "1", "SUBMIT_LEASE_S": str(LEASE_S)})
    system.start_redis()
    system.start_api()
    system.start_observer()
    mark = system.folder / "killed"
    system.start(
        "doomed",
        ["-m", "celery", "-A", "tests.e2e.killing_app", "worker", "--pool", "threads", "--concurrency", "2", "-E"],
        {"KILL_AT": point, "KILL_MARK": str(mark), "PYTHONPATH": "."},
    )
    system.wait_ready()
    post(system, "job", 0.5, 3)
    wait_for("the worker has died", lambda: system.processes["doomed"].poll() == -signal.SIGKILL)
    assert mark.exists()
    system.start_worker()
    record = wait_end(system, "job", timeout_s=LEASE_S + 90)
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 3)
    assert (traces(system, "job"), traces(system, "job", "ends")) == (1, 1)


def test_another_observer_takes_over_from_one_that_was_killed(start: Start) -> None:
    system = bring_up(start, OBSERVER_LEASE_S="3")
    sign = system.folder / "standby.heartbeat"
    system.start_observer("standby", env={"HEARTBEAT_FILE": str(sign)})
    post(system, "job", LASTING_S)
    wait_for("the job has begun", lambda: has_begun(system, "job"))
    wait_for("the other one stands by: how long it takes to start is not what is bounded here", sign.exists)
    system.kill("observer")
    let_end(system, "job")
    # Within a lease of 3 s and a second's reconcile; what is found by the sweep of each minute only is found too late.
    assert wait_end(system, "job", timeout_s=50)["status"] == "finishedSuccessfully"


def test_jobs_outlive_worker_and_observer(start: Start) -> None:
    system = bring_up(start)
    post(system, "job", LASTING_S, 5)
    wait_for("the job has begun", lambda: has_begun(system, "job"))
    system.kill("worker")
    system.kill("observer")
    let_end(system, "job")
    wait_for("the job has ended by itself", lambda: traces(system, "job", "ends") == 1)
    assert get(system, "job")["status"] in {"notstarted", "started"}
    system.restart("observer")
    record = wait_end(system, "job")
    assert (record["exit_code"], record["logs"]) == (5, "working\n")
    assert traces(system, "job") == 1


def test_redis_away_for_twenty_seconds_loses_nothing_and_doubles_nothing(start: Start) -> None:
    system = bring_up(start)
    jids = [f"job-{number}" for number in range(12)]
    for number, jid in enumerate(jids):
        post(system, jid, 0.2 if number % 2 else 8.0, number % 3)
    pids = {name: process.pid for name, process in system.processes.items()}
    system.stop_redis()
    end_s = time.monotonic() + OUTAGE_S
    prepare(system, "during")
    while time.monotonic() < end_s:
        for reply in (
            requests.post(f"{system.url}/api/v1/", json=body("during"), timeout=HANG_S),
            requests.get(f"{system.url}/api/v1/job-0/", timeout=HANG_S),
            requests.delete(f"{system.url}/api/v1/never/", timeout=HANG_S),
        ):
            assert reply.status_code == 503
            assert int(reply.headers["Retry-After"]) > 0
            assert reply.json()["message"]
    system.start_redis()
    for number, jid in enumerate(jids):
        record = wait_end(system, jid, timeout_s=120)
        assert record["exit_code"] == number % 3
        assert (traces(system, jid), traces(system, jid, "ends")) == (1, 1)
    post(system, "after")
    assert wait_end(system, "after")["status"] == "finishedSuccessfully"
    assert {name: process.pid for name, process in system.processes.items() if process.poll() is None} == pids


def test_redis_wiped_with_jobs_running_brings_them_back_and_they_end_true(start: Start) -> None:
    system = bring_up(start)
    codes = {f"job-{number}": number % 3 for number in range(6)}
    for jid, code in codes.items():
        post(system, jid, LASTING_S, code)
    for jid in codes:
        wait_status(system, jid, "started")
    system.stop_redis(kill=True)
    shutil.rmtree(system.folder / "redis")
    system.start_redis()
    # pfcon repeats a POST that timed out: it must find the job that runs, not start it again.
    wait_for("the API is back", lambda: requests.get(f"{system.url}/ready/", timeout=30).ok)
    again = post(system, "job-1", LASTING_S, 1)
    assert again["status"] in {"notstarted", "started"}
    # One half of them ends before the sweep, the other after it.
    early, late = list(codes)[:3], list(codes)[3:]
    for jid in early:
        let_end(system, jid)
    for jid in codes:
        wait_for(f"{jid} is back", lambda jid=jid: requests.get(f"{system.url}/api/v1/{jid}/", timeout=30).ok, 120)
    for jid in late:
        wait_status(system, jid, "started")
        let_end(system, jid)
    for jid, code in codes.items():
        record = wait_end(system, jid, timeout_s=120)
        assert (record["exit_code"], record["cmd"].split()[-1]) == (code, "/share/outgoing")
        assert (traces(system, jid), traces(system, jid, "ends")) == (1, 1)


def test_two_hundred_jobs_by_sixteen_clients_on_three_workers_and_two_hosts(start: Start) -> None:
    system = bring_up(start)
    system.start_worker("worker-2")
    system.start_worker("worker-3", host="host-b")
    system.start_observer("observer-b", host="host-b")
    for name in ("worker", "worker-2", "worker-3"):
        wait_for(f"{name} takes jobs", lambda name=name: "ready." in system.output(name))
    codes = {f"job-{number}": number % 4 for number in range(200)}
    with ThreadPoolExecutor(16) as clients:
        list(clients.map(lambda item: post(system, item[0], 0.05, item[1]), codes.items()))
    for jid, code in codes.items():
        record = wait_end(system, jid, timeout_s=120)
        expected = "finishedSuccessfully" if code == 0 else "finishedWithError"
        assert (record["status"], record["exit_code"]) == (expected, code), record
        assert (traces(system, jid), traces(system, jid, "ends")) == (1, 1)
    # A worker that is slow just then may have left them all to the others; not one that goes on being asked.
    store, until_s = system.connect_store(), time.monotonic() + HOSTS_S
    hosts = {store.get(jid).host for jid in codes}  # type: ignore[union-attr]
    for number in itertools.count():
        if hosts == {"host-a", "host-b"}:
            break
        assert time.monotonic() < until_s, hosts
        post(system, f"more-{number}")
        wait_end(system, f"more-{number}")
        hosts.add(store.get(f"more-{number}").host)  # type: ignore[union-attr]


def test_ten_clients_that_post_the_same_job_at_once_make_one(start: Start) -> None:
    system = bring_up(start)
    with ThreadPoolExecutor(10) as clients:
        generations = {record["generation"] for record in clients.map(lambda _: post(system, "job"), range(10))}
    assert len(generations) == 1
    wait_end(system, "job")
    other = requests.post(f"{system.url}/api/v1/", json=body("job", 9.9), timeout=30)
    assert other.status_code == 409
    assert traces(system, "job") == 1


def test_a_delete_ends_a_running_job_promptly_and_its_jid_is_free_again(start: Start) -> None:
    system = bring_up(start)
    system.start_control_worker()
    post(system, "job", LASTING_S)
    wait_for("the job has begun", lambda: has_begun(system, "job"))
    assert requests.delete(f"{system.url}/api/v1/job/", timeout=30).status_code == 204
    assert requests.get(f"{system.url}/api/v1/job/", timeout=30).status_code == 404
    assert requests.delete(f"{system.url}/api/v1/job/", timeout=30).status_code == 204
    post(system, "job", 0.1, 7)
    assert wait_end(system, "job")["exit_code"] == 7
    assert (traces(system, "job"), traces(system, "job", "ends")) == (2, 1)
