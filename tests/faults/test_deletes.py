"""DELETE races with POST, with the end of the job and with itself: what is deleted is gone, what is left is true."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
import requests

from testbed.system import System, wait_for
from tests.e2e.jobs import body, prepare
from tests.faults.scene import Start, bring_up, get, mock_job, scheduler, wait_end

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

JOBS = 60
HANG_S = 30.0
RUN_FOR_S = 0.4


@pytest.fixture
def system(start: Start) -> System:
    made = bring_up(start, "mock", workers=("worker", "worker-2"))
    made.start_control_worker()
    return made


def post(system: System, jid: str, code: int = 0) -> int:
    job = body(jid, **mock_job(f"MOCK_RUN_FOR_S={RUN_FOR_S}", f"MOCK_EXIT_CODE={code}"))
    prepare(system, jid)
    return requests.post(f"{system.url}/api/v1/", json=job, timeout=HANG_S).status_code


def delete(system: System, jid: str) -> int:
    return requests.delete(f"{system.url}/api/v1/{jid}/", timeout=HANG_S).status_code


def status_code(system: System, jid: str) -> int:
    return requests.get(f"{system.url}/api/v1/{jid}/", timeout=HANG_S).status_code


def check_gone(system: System, jids: list[str]) -> None:
    """Nobody knows the jobs: not the API, not the scheduler; nothing is owed; and none was started twice."""
    wait_for("nothing is owed", lambda: system.connect_store().counts("mock")["obligations"] == 0)
    folder = scheduler(system)
    wait_for("the scheduler has nothing", lambda: not list(folder.generations()))
    assert {status_code(system, jid) for jid in jids} == {404}
    assert set(folder.runs().values()) <= {1}


def check_free(system: System, jids: list[str]) -> None:
    """The jids can be used again, and are."""
    for jid in jids:
        assert post(system, jid, 3) == 201
    for jid in jids:
        assert wait_end(system, jid)["exit_code"] == 3
    assert set(scheduler(system).runs().values()) == {1}


def test_delete_races_with_post(system: System) -> None:
    jids = [f"job-{number}" for number in range(JOBS)]

    def race(jid: str) -> None:
        both = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pair:
            posted = pair.submit(lambda: (both.wait(), post(system, jid))[1])
            deleted = pair.submit(lambda: (both.wait(), delete(system, jid))[1])
            assert (posted.result(), deleted.result()) == (201, 204)
        # One of the two was first; both stories have one end.
        if status_code(system, jid) == 200:
            assert wait_end(system, jid)["exit_code"] == 0
            assert delete(system, jid) == 204

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(race, jids))
    check_gone(system, jids)
    check_free(system, jids[:10])


def test_delete_races_with_the_end_of_the_job(system: System) -> None:
    jids = [f"job-{number}" for number in range(JOBS)]

    def race(jid: str) -> None:
        assert post(system, jid) == 201
        time.sleep(RUN_FOR_S * Random(jid).uniform(0.5, 1.5))
        assert delete(system, jid) == 204
        assert status_code(system, jid) == 404

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(race, jids))
    check_gone(system, jids)
    check_free(system, jids[:10])


def test_delete_races_with_itself_and_with_a_new_job_of_the_jid(system: System) -> None:
    assert post(system, "job") == 201
    with ThreadPoolExecutor(10) as clients:
        assert set(clients.map(lambda _: delete(system, "job"), range(30))) == {204}
        check_gone(system, ["job"])
        # A late DELETE of a client and the next POST of another: each of them may win, nothing runs twice.
        for _ in range(10):
            codes = list(clients.map(lambda act: act(system, "job"), (post, delete, post, delete)))
            assert set(codes) <= {201, 204}
    if status_code(system, "job") == 200:
        generation = wait_end(system, "job")["generation"]
        assert get(system, "job")["generation"] == generation
        assert delete(system, "job") == 204
    check_gone(system, ["job"])
    check_free(system, ["job"])
