"""A scheduler that is slow, away, wrong, or confused about its events: clients wait, and are told nothing false."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from testbed.system import System, wait_for
from tests.faults.scene import (
    Start,
    ask,
    bring_up,
    check_mock_ends,
    get,
    mock_job,
    post,
    scheduler,
    set_faults,
    wait_status,
    watched,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

HURRIED = {"LOST_GRACE_S": "1", "LIVE_LOGS_S": "0"}
"""A job is given up as soon as it may be: what is only unknown must not be."""
RUN_FOR_S = 30.0
"""So long all of them take to begin, and to be seen, on a busy machine; they end while the scheduler is away."""
OUTAGE_S = RUN_FOR_S + 5
SLOW_S = 5.0


def post_jobs(system: System, count: int, *script: str) -> dict[str, int]:
    codes = {f"job-{number}": number % 3 for number in range(count)}
    for jid, code in codes.items():
        post(system, jid, **mock_job(f"MOCK_EXIT_CODE={code}", *script))
    return codes


def test_a_scheduler_that_takes_five_seconds_for_each_answer_delays_jobs_and_no_reply(start: Start) -> None:
    system = bring_up(start, "mock", env=HURRIED)
    set_faults(system, slow_s=SLOW_S)
    codes = {f"job-{number}": number % 3 for number in range(6)}
    posts_s = [
        took_s(lambda jid=jid, code=code: post(system, jid, **mock_job(f"MOCK_EXIT_CODE={code}", "MOCK_RUN_FOR_S=1")))
        for jid, code in codes.items()
    ]
    deleted = [f"deleted-{number}" for number in range(3)]
    for jid in deleted:
        post(system, jid, **mock_job("MOCK_RUN_FOR_S=60"))
    deletes_s = [took_s(lambda jid=jid: delete(system, jid)) for jid in deleted]
    # A busy machine makes a reply late, and not most of them; if they waited for the scheduler, most would be.
    assert median(posts_s) < SLOW_S
    assert median(deletes_s) < SLOW_S
    with watched(system, list(codes)):
        check_mock_ends(system, codes)
    set_faults(system)
    for jid in deleted:
        wait_for(f"nothing is left of {jid}", lambda jid=jid: not is_known(system, jid))


def test_a_scheduler_that_is_away_changes_no_state_and_is_waited_for(start: Start) -> None:
    system = bring_up(start, "mock", env=HURRIED)
    running = post_jobs(system, 6, f"MOCK_RUN_FOR_S={RUN_FOR_S}")
    for jid in running:
        wait_status(system, jid, "started")
    set_faults(system, down=True)
    waiting = {"waits-0": 0, "waits-1": 4}
    for jid, code in waiting.items():
        post(system, jid, **mock_job(f"MOCK_EXIT_CODE={code}"))
    with watched(system, [*running, *waiting]):
        for jid in waiting:
            wait_for(f"{jid} says why it waits", lambda jid=jid: "not available" in get(system, jid)["message"])
        end_s = time.monotonic() + OUTAGE_S
        while time.monotonic() < end_s:
            assert {get(system, jid)["status"] for jid in running} == {"started"}
            assert {get(system, jid)["status"] for jid in waiting} == {"notstarted"}
            time.sleep(0.5)
        set_faults(system)
        check_mock_ends(system, running | waiting, timeout_s=150)


@pytest.mark.parametrize("error", ["unavailable", "unparseable"])
def test_a_scheduler_that_answers_every_third_call_with_an_error_ends_every_job_truly(start: Start, error: str) -> None:
    system = bring_up(start, "mock", workers=("worker", "worker-2"), env=HURRIED)
    # An answer to a submit that nobody understands is waited out for a whole lease; that is not what is tested here.
    is_late = error == "unparseable"
    if not is_late:
        set_faults(system, error_share=0.34, error=error)
    codes = post_jobs(system, 12, "MOCK_PENDING_FOR_S=0.5", "MOCK_RUN_FOR_S=2")
    post(system, "deleted", **mock_job("MOCK_RUN_FOR_S=60"))
    with watched(system, list(codes)):
        if is_late:
            wait_for("all are with the scheduler", lambda: len(scheduler(system).runs()) == 13)
            set_faults(system, error_share=0.34, error=error)
        assert ask(system, "DELETE", "/api/v1/deleted/").status_code == 204
        # Ten tries that fail in a row, with the waits between them, are rare enough, eight are not.
        check_mock_ends(system, codes, timeout_s=240)
        wait_for("nothing is left of the deleted one", lambda: not is_known(system, "deleted"), 150)


@pytest.mark.parametrize(
    "faults",
    [
        {"lose_events": True},
        {"late_events_s": 3.0},
        {"late_events_s": 1.0, "repeat_events": True, "reorder_events": True},
    ],
    ids="-".join,
)
def test_events_that_are_lost_late_repeated_or_out_of_order_mislead_nobody(
    start: Start, faults: dict[str, Any]
) -> None:
    # Without the listings a lost event would be found by the sweep of each minute only.
    system = bring_up(start, "mock", env=HURRIED | {"RECONCILE_S": "2" if "lose_events" in faults else "60"})
    set_faults(system, **faults)
    codes = post_jobs(system, 30, "MOCK_PENDING_FOR_S=0.2", "MOCK_RUN_FOR_S=0.4")
    again = dict.fromkeys(list(codes)[::3], 5)
    kept = {jid: code for jid, code in codes.items() if jid not in again}
    with watched(system, list(kept)):
        for jid, code in again.items():  # another job by the time the events of the first one come
            assert ask(system, "DELETE", f"/api/v1/{jid}/").status_code == 204
            post(system, jid, **mock_job(f"MOCK_EXIT_CODE={code}", "MOCK_RUN_FOR_S=0.3"))
        check_mock_ends(system, kept | again)


def test_a_record_outlives_its_retention_as_long_as_its_object_cannot_be_removed(start: Start) -> None:
    system = bring_up(start, "mock", env=HURRIED | {"RETENTION_HOURS": "0.003"})
    post(system, "job", **mock_job("MOCK_EXIT_CODE=3", "MOCK_RUN_FOR_S=1"))
    check_mock_ends(system, {"job": 3})
    set_faults(system, down=True)
    wait_for(
        "its retention is over, and its removal was tried",
        lambda: "a leftover stays for a later round: jid=job" in system.output("observer"),
    )
    assert get(system, "job")["exit_code"] == 3
    assert is_known(system, "job")
    set_faults(system)
    # What could not be removed is tried again with the sweep of each minute, or by the next leader.
    system.stop("observer")
    system.restart("observer")
    wait_for("its record is gone", lambda: ask(system, "GET", "/api/v1/job/").status_code == 404)
    assert not is_known(system, "job")


def took_s(act: Callable[[], object]) -> float:
    begun_s = time.monotonic()
    act()
    return time.monotonic() - begun_s


def delete(system: System, jid: str) -> None:
    assert ask(system, "DELETE", f"/api/v1/{jid}/").status_code == 204


def is_known(system: System, jid: str) -> bool:
    """Whether the scheduler has an object of the job."""
    folder = scheduler(system)
    found = [folder.load(generation) for generation in folder.generations()]
    return any(job.jid == jid for job, _ in filter(None, found))
