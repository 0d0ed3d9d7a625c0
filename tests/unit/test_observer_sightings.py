"""What the observer sees of running jobs, what it does not see, and what follows; on a clock moved by hand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pman_core.errors import Unavailable, Unparseable
from pman_core.states import Reason, State
from pman_worker import lifecycle
from tests.unit.worker_harness import World, rounds, submitted

JID = "chris-jid-1"


# Seeing


def test_the_states_of_the_scheduler_become_those_of_the_record() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    world.backend.become(JID, State.RUNNING, native_state="R", started_at=datetime(2026, 1, 2, tzinfo=UTC))
    rounds(world, observer, 1)
    assert world.record().state is State.RUNNING
    end = datetime(2026, 1, 3, tzinfo=UTC)
    world.backend.become(
        JID, State.FAILED, reason=Reason.NONZERO_EXIT, exit_code=3, message="exit code 3", finished_at=end
    )
    rounds(world, observer, 1)
    record = world.record()
    assert (record.state, record.reason, record.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 3)
    assert (record.message, record.logs, record.native_state) == ("exit code 3", "a line\n", "R")
    assert record.finished_at_ms == end.timestamp() * 1000


def test_a_round_without_news_writes_nothing() -> None:
    world = World()
    observer = world.observer()
    for number in range(10):
        submitted(world, f"job-{number}")
        world.backend.become(f"job-{number}", State.RUNNING)
    rounds(world, observer, 1)
    written: list[object] = []
    advance_many = world.store.advance_many

    def spy(changes: Any) -> Any:
        written.extend(changes)
        return advance_many(changes)

    world.store.advance_many = spy  # type: ignore[method-assign]
    rounds(world, observer, 5)
    assert written == []
    world.backend.become("job-3", State.RUNNING, message="thirty percent")
    rounds(world, observer, 5)
    assert len(written) == 1


def test_all_running_jobs_are_asked_for_with_one_call() -> None:
    world = World()
    observer = world.observer()
    for number in range(50):
        submitted(world, f"job-{number}")
    world.backend.calls.clear()
    rounds(world, observer, 1)
    assert world.backend.calls.count("observe") == 1


# Not seeing


def test_an_absent_job_is_lost_after_several_listings_and_grace_not_before() -> None:
    world = World()
    observer = world.observer()
    generation = submitted(world)
    world.clock.advance(1)
    del world.backend.objects[JID, generation]
    rounds(world, observer, 30)
    assert world.record().state is State.PENDING
    rounds(world, observer, 2)
    record = world.record()
    assert (record.state, record.reason) == (State.LOST, Reason.VANISHED)
    assert "has not known the job" in record.message
    assert "remove" in world.backend.calls
    assert world.store.counts("mock")["obligations"] == 0
    rounds(world, observer, 2)
    assert world.record().state is State.LOST


def test_however_long_a_job_is_absent_two_listings_prove_nothing() -> None:
    world = World(lost_grace_s=1, observer_lease_s=3600)
    observer = world.observer()
    generation = submitted(world)
    world.clock.advance(1)
    del world.backend.objects[JID, generation]
    rounds(world, observer, 2, step_s=600)
    assert world.record().state is State.PENDING
    rounds(world, observer, 1)
    assert world.record().state is State.LOST


def test_a_job_that_shows_again_starts_its_grace_anew() -> None:
    world = World()
    observer = world.observer()
    generation = submitted(world)
    world.clock.advance(1)
    hidden = world.backend.objects.pop((JID, generation))
    rounds(world, observer, 25)
    world.backend.objects[JID, generation] = hidden
    rounds(world, observer, 1)
    del world.backend.objects[JID, generation]
    rounds(world, observer, 25)
    assert world.record().state is State.PENDING


def test_a_question_that_failed_is_not_an_absence() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    world.backend.always["observe"] = Unavailable("down")
    rounds(world, observer, 1000)
    world.backend.always["observe"] = Unparseable("what?", raw="<html>")
    rounds(world, observer, 1000)
    del world.backend.always["observe"]
    world.backend.unknown = {JID}
    rounds(world, observer, 1000)
    assert world.record().state is State.PENDING


def test_an_observer_that_has_lost_its_lease_counts_no_absence() -> None:
    world = World()
    observer = world.observer()
    generation = submitted(world)
    del world.backend.objects[JID, generation]
    world.store.resign("mock", world.leader.token)
    assert world.store.lead("mock", "another", 1e9)
    rounds(world, observer, 100)
    assert world.record().state is State.PENDING


# The end and its log


def test_an_end_waits_ten_seconds_for_its_log_and_then_goes_without() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    world.backend.become(JID, State.SUCCEEDED, exit_code=0)
    world.backend.always["logs"] = Unavailable("disk away")
    rounds(world, observer, 9)
    assert world.record().state is State.PENDING
    rounds(world, observer, 3)
    record = world.record()
    assert record.state is State.SUCCEEDED
    assert "log could not be read" in record.message
    del world.backend.always["logs"]
    rounds(world, observer, 2)
    assert world.record().logs == "a line\n"
    assert world.record().state is State.SUCCEEDED


def test_a_log_that_never_comes_is_given_up() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    world.backend.become(JID, State.SUCCEEDED, exit_code=0)
    world.backend.always["logs"] = Unavailable("disk gone")
    rounds(world, observer, 400)
    world.backend.calls.clear()
    rounds(world, observer, 10)
    assert "logs" not in world.backend.calls


def test_a_jid_deleted_and_posted_again_between_two_rounds_is_followed_anew() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    rounds(world, observer, 1)
    obligation = world.store.delete(JID).obligation
    assert obligation is not None
    lifecycle.remove(world.ctx, obligation)
    submitted(world, image="another")
    world.backend.become(JID, State.SUCCEEDED, exit_code=0)
    rounds(world, observer, 3)
    assert world.record().state is State.SUCCEEDED


def test_absences_that_a_former_leader_counted_are_forgotten_when_the_job_is_seen() -> None:
    world = World()
    first = world.observer()
    generation = submitted(world)
    world.clock.advance(1)
    hidden = world.backend.objects.pop((JID, generation))
    rounds(world, first, 2)
    world.backend.objects[JID, generation] = hidden
    world.store._leaders.clear()
    second = world.observer()
    rounds(world, second, 600)
    del world.backend.objects[JID, generation]
    rounds(world, second, 2)
    assert world.record().state is State.PENDING


def test_a_leader_that_slept_over_its_counting_does_not_write_lost() -> None:
    world = World()
    sleeper = world.observer()
    generation = submitted(world)
    world.clock.advance(1)
    hidden = world.backend.objects.pop((JID, generation))
    rounds(world, sleeper, 29)
    note_absent = world.store.note_absent

    def sleep_after_counting(*args: Any) -> tuple[int, int]:
        counted = note_absent(*args)
        if counted[1] >= 30_000:
            world.store.note_absent = note_absent  # type: ignore[method-assign]
            world.backend.objects[JID, generation] = hidden
            world.store._leaders.clear()
            rounds(world, world.observer(), 2)
        return counted

    world.store.note_absent = sleep_after_counting  # type: ignore[method-assign]
    rounds(world, sleeper, 5)
    assert world.record().state is State.PENDING
    assert (JID, generation) in world.backend.objects


@pytest.mark.parametrize("error", [Unparseable("what?", raw="x"), RuntimeError("a bug")])
def test_one_bad_log_holds_up_no_other_job(error: Exception) -> None:
    world = World()
    observer = world.observer()
    for jid in ("bad", "good"):
        submitted(world, jid)
        world.backend.become(jid, State.SUCCEEDED, exit_code=0)
    logs = world.backend.logs

    def some_logs(ref: Any, *limits: int) -> str:
        if ref.jid == "bad":
            raise error
        return logs(ref, *limits)

    world.backend.logs = some_logs  # type: ignore[method-assign]
    rounds(world, observer, 1)
    assert world.record("good").state is State.SUCCEEDED
    rounds(world, observer, 15)
    assert world.record("bad").state is State.SUCCEEDED


def test_slow_logs_do_not_fill_the_round() -> None:
    world = World()
    observer = world.observer()
    for number in range(60):
        submitted(world, f"job-{number}")
        world.backend.become(f"job-{number}", State.SUCCEEDED, exit_code=0)

    def slow(*_: object) -> str:
        world.clock.advance(5)
        raise Unavailable("time-out")

    world.backend.logs = slow  # type: ignore[method-assign]
    began_s = world.clock.s()
    observer.tick()
    assert world.clock.s() - began_s < 10
    rounds(world, observer, 30)
    assert world.store.counts("mock")["terminal"] == 60


def test_a_late_live_log_does_not_take_the_place_of_the_last_one() -> None:
    world = World()
    observer = world.observer()
    generation = submitted(world)
    world.backend.become(JID, State.RUNNING)
    rounds(world, observer, 1)
    world.backend.become(JID, State.FAILED, reason=Reason.NONZERO_EXIT, exit_code=1)
    world.backend.always["logs"] = Unavailable("away")
    rounds(world, observer, 12)
    assert not world.store.fill_logs(JID, generation, "the beginning", only_running=True)
    del world.backend.always["logs"]
    rounds(world, observer, 2)
    assert world.record().logs == "a line\n"


@pytest.mark.parametrize("is_late", [False, True])
def test_a_log_that_is_gone_with_its_object_does_not_take_the_place_of_what_was_read_before(is_late: bool) -> None:
    """As that of a container that is removed by hand: the engine then has no such log, which is an empty one."""
    world = World()
    observer = world.observer()
    generation = submitted(world)
    world.backend.become(JID, State.RUNNING)
    rounds(world, observer, 1)
    assert lifecycle.refresh(world.ctx, JID, generation)
    world.backend.log_text = ""
    assert not lifecycle.refresh(world.ctx, JID, generation)
    world.backend.become(JID, State.FAILED, reason=Reason.SIGNALLED, exit_code=137)
    if is_late:
        world.backend.always["logs"] = Unavailable("away")
        rounds(world, observer, 12)
        del world.backend.always["logs"]
    rounds(world, observer, 2)
    assert (world.record().exit_code, world.record().logs) == (137, "a line\n")
