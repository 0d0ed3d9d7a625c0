"""A process sleeps (SIGSTOP) at the worst moment and wakes when others have done its work: it changes nothing."""

import signal
import threading
import time

import pytest

from testbed.system import wait_for
from tests.e2e.jobs import traces
from tests.faults.scene import (
    LEASE_S,
    Start,
    ask,
    bring_up,
    check_ends,
    gated,
    get,
    is_asleep,
    is_idle,
    post,
    start_sleeper,
    try_post,
    wait_end,
    wait_status,
)

FENCE_S = LEASE_S + 3

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.mark.parametrize("point", ["before-call", "after-call"])
def test_a_worker_that_sleeps_in_a_submit_beyond_its_lease_wakes_to_find_the_job_taken(
    start: Start, point: str
) -> None:
    system = bring_up(start, workers=())
    start_sleeper(system, point)
    post(system, "job", 1.0, 3)
    wait_for("the worker sleeps in the submit", lambda: is_asleep(system, "sleeper"))
    assert traces(system, "job") <= (point == "after-call")
    system.start_worker("other")
    record = wait_end(system, "job", timeout_s=LEASE_S + 100)
    system.signal("sleeper", signal.SIGCONT)
    wait_for("the sleeper is done with it", lambda: is_idle(system))
    # It lives and works on.
    more = {f"more-{number}": number for number in range(3)}
    system.kill("other")
    for jid, code in more.items():
        post(system, jid, 0.1, code)
    check_ends(system, {"job": 3} | more)
    assert get(system, "job") == record


def test_a_worker_that_sleeps_while_its_job_is_deleted_and_posted_anew_wakes_to_the_new_one(start: Start) -> None:
    # Its lease is never returned: only after the fence behind it may a new job of the jid run.
    system = bring_up(start, workers=(), env={"SUBMIT_FENCE_S": str(FENCE_S)})
    start_sleeper(system, "before-call")
    old = post(system, "job", 60.0)["generation"]
    wait_for("the worker sleeps in the submit", lambda: is_asleep(system, "sleeper"))
    system.start_worker("other")
    assert ask(system, "DELETE", "/api/v1/job/").status_code == 204
    new = post(system, "job", 0.1, 7)["generation"]
    record = wait_end(system, "job", timeout_s=LEASE_S + FENCE_S + 100)
    assert (record["generation"], record["exit_code"], traces(system, "job")) == (new, 7, 1)
    system.signal("sleeper", signal.SIGCONT)
    wait_for("the sleeper is done with it", lambda: is_idle(system))
    post(system, "more", 0.1, 2)
    check_ends(system, {"job": 7, "more": 2})
    assert get(system, "job") == record
    assert old != new


def test_an_observer_that_sleeps_with_a_listing_in_its_hands_wakes_and_tells_nothing_false(start: Start) -> None:
    system = bring_up(start, observers=())
    mark, beat = system.folder / "asleep", system.folder / "heartbeat"
    env = {"SLEEP_MARK": str(mark), "HEARTBEAT_FILE": str(beat), "PYTHONPATH": "."}
    system.start("sleeper", ["-m", "tests.faults.sleeping_observer"], env)
    system.wait_ready()
    ready_s = time.time()
    wait_for("its round is over, and with it the sweep", lambda: beat.exists() and beat.stat().st_mtime > ready_s)
    mark.touch()
    first = post(system, "job", 0, 3, **gated("gate"))["generation"]
    wait_for("the leader sleeps", lambda: is_asleep(system, "sleeper"))
    assert get(system, "job")["status"] == "notstarted"
    system.start_observer("standby")
    wait_status(system, "job", "started")
    assert ask(system, "DELETE", "/api/v1/job/").status_code == 204
    wait_for("the first one is gone", lambda: system.connect_store().counts("process")["obligations"] == 0)
    system.signal("worker", signal.SIGSTOP)
    second = post(system, "job", 0, 7, **gated("another-gate"))["generation"]
    # In its hands: the job runs. In truth: that was another one, and this one waits.
    system.signal("sleeper", signal.SIGCONT)
    wait_for("the sleeper has told what it knew", (system.folder / "asleep.told").exists)
    record = get(system, "job")
    assert (record["status"], record["generation"]) == ("notstarted", second)
    assert first != second
    system.signal("worker", signal.SIGCONT)
    wait_status(system, "job", "started")
    (system.store_base / "job/outgoing/another-gate").touch()
    assert wait_end(system, "job")["exit_code"] == 7
    assert traces(system, "job") == 2
    system.stop("standby")  # and the sleeper leads again
    post(system, "last", 0.1, 2)
    check_ends(system, {"last": 2})


def test_an_api_that_sleeps_has_accepted_nothing_twice_when_it_wakes(start: Start) -> None:
    system = bring_up(start)
    system.signal("api", signal.SIGSTOP)
    assert try_post(system, "job", 0.1, 3, timeout_s=1) == 0
    # What a client gives up is still in the socket: it will be read when the API wakes.
    answers: list[int] = []
    repeated = threading.Thread(
        target=lambda: answers.append(try_post(system, "job", 0.1, 3, timeout_s=60)), name="repeated"
    )
    repeated.start()
    system.signal("api", signal.SIGCONT)
    repeated.join()
    assert answers == [201]
    check_ends(system, {"job": 3})
