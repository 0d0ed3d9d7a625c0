"""Jobs past their time limit, and objects that were made and never started."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pman_core.backend import Capabilities
from pman_core.errors import Unavailable
from pman_core.states import Reason, State
from pman_core.store.protocol import Moved
from pman_worker import lifecycle
from tests.unit.worker_harness import Killed, World, rounds, submitted


def limited(minutes: int = 2, *, ends_overdue: bool = False) -> World:
    world = World(timelimit_minutes=minutes)
    world.backend.capabilities = Capabilities(ends_overdue=ends_overdue)
    return world


def run(world: World, jid: str) -> str:
    generation = submitted(world, jid)
    world.backend.become(jid, State.RUNNING, started_at=datetime.fromtimestamp(world.clock.s(), UTC))
    return generation


def test_only_a_job_past_its_limit_is_ended_and_says_so() -> None:
    world = limited()
    observer = world.observer()
    run(world, "old")
    rounds(world, observer, 60)
    run(world, "young")
    rounds(world, observer, 58)
    assert "end_overdue" not in world.backend.calls
    rounds(world, observer, 6)
    assert world.backend.calls.count("end_overdue") == 1
    record = world.record("old")
    assert (record.state, record.reason) == (State.FAILED, Reason.TIME_LIMIT)
    assert world.record("young").state is State.RUNNING


def test_a_job_that_asked_for_its_own_limit_has_that() -> None:
    world = limited(minutes=2)
    observer = world.observer()
    generation = submitted(world, "asking", time_limit=1)
    world.backend.become("asking", State.RUNNING, started_at=datetime.fromtimestamp(world.clock.s(), UTC))
    run(world, "usual")
    rounds(world, observer, 59)
    assert "end_overdue" not in world.backend.calls
    rounds(world, observer, 5)
    assert (world.record("asking").state, world.record("asking").generation) == (State.FAILED, generation)
    assert world.record("usual").state is State.RUNNING


def test_the_limit_counts_from_the_start_not_from_the_submit() -> None:
    world = limited()
    observer = world.observer()
    submitted(world, "queueing")
    rounds(world, observer, 200)
    assert "end_overdue" not in world.backend.calls
    assert world.record("queueing").state is State.PENDING


def test_a_scheduler_with_limits_of_its_own_is_not_told() -> None:
    world = limited(ends_overdue=True)
    observer = world.observer()
    run(world, "old")
    rounds(world, observer, 200)
    assert "end_overdue" not in world.backend.calls


def test_a_new_leader_knows_the_limit_of_a_job_that_runs_already() -> None:
    world = limited()
    observer = world.observer()
    run(world, "old")
    rounds(world, observer, 3)
    observer.stand_down()
    world.clock.advance(130)
    rounds(world, observer, 3)
    assert world.record("old").reason == Reason.TIME_LIMIT


@pytest.mark.parametrize("error", [Unavailable("no answer"), RuntimeError("a bug")])
def test_an_order_that_fails_is_given_again_later_and_holds_up_no_other_job(error: Exception) -> None:
    world = limited()
    observer = world.observer()
    run(world, "old")
    rounds(world, observer, 1)
    world.clock.advance(130)
    world.backend.fail("end_overdue", error, error)
    rounds(world, observer, 10)
    assert world.backend.calls.count("end_overdue") == 1, "not at every round"
    assert world.record("old").state is State.RUNNING
    rounds(world, observer, 60)
    assert world.backend.calls.count("end_overdue") == 3
    assert world.record("old").reason == Reason.TIME_LIMIT


def half_made(world: World, jid: str = "job") -> str:
    """Leave a job whose worker died between making the object and starting it."""
    generation = world.post(jid)
    world.backend.fail("submit:made", Killed())
    with pytest.raises(Killed):
        lifecycle.submit(world.ctx, jid, generation)
    return generation


def test_a_worker_that_dies_before_the_start_leaves_a_job_that_the_next_one_starts_once() -> None:
    world = World()
    observer = world.observer()
    generation = half_made(world)
    rounds(world, observer, 70)
    assert world.record("job").state is State.SUBMITTING, "the sweep has seen it and concluded nothing"
    assert lifecycle.submit(world.ctx, "job", generation) is Moved.OK
    assert world.backend.runs == [("job", generation)]
    assert world.record("job").state is State.PENDING


def test_after_a_wipe_a_half_made_job_is_adopted_and_started() -> None:
    world = World()
    generation = half_made(world)
    world.wipe_store()
    observer = world.observer()
    rounds(world, observer, 3)
    assert world.record("job").state is State.QUEUED
    assert lifecycle.submit(world.ctx, "job", generation) is Moved.OK
    assert world.backend.runs == [("job", generation)]


def test_a_half_made_job_whose_attempts_are_used_up_is_ended_behind_the_fence_and_poison() -> None:
    world = World(submit_attempts_max=1)
    generation = half_made(world)
    world.clock.advance(world.settings.submit_lease_s + 1)
    assert lifecycle.submit(world.ctx, "job", generation) is Moved.EXHAUSTED
    assert world.record("job").state is State.SUBMITTING
    world.clock.advance(world.settings.submit_fence_s + 1)
    lifecycle.submit(world.ctx, "job", generation)
    assert (world.record("job").state, world.record("job").reason) == (State.FAILED, Reason.POISON)
    assert "end" in world.backend.calls
    assert world.backend.runs == []


def test_a_confirmed_removal_is_not_looked_for() -> None:
    world = World()
    submitted(world, "job")
    world.backend.confirms = True
    world.store.delete("job")
    world.backend.calls.clear()
    rounds(world, world.observer(), 1)
    assert [call for call in world.backend.calls if call in {"remove", "observe"}] == ["remove"]
    assert not world.store.obligations("mock", 10)


def test_a_scheduler_whose_clock_is_behind_does_not_end_jobs_too_early() -> None:
    world = limited()
    observer = world.observer()
    submitted(world, "job")
    behind = datetime.fromtimestamp(world.clock.s() - 600, UTC)
    world.backend.become("job", State.RUNNING, started_at=behind)
    rounds(world, observer, 100)
    assert world.record("job").state is State.RUNNING
    rounds(world, observer, 30)
    assert world.record("job").reason == Reason.TIME_LIMIT


def test_a_running_job_whose_object_was_never_started_is_lost_in_the_end() -> None:
    world = World(lost_grace_s=10)
    observer = world.observer()
    run(world, "job")
    rounds(world, observer, 2)
    key = next(iter(world.backend.objects))
    world.backend.objects[key] = replace(world.backend.objects[key], state=State.QUEUED)
    rounds(world, observer, 30)
    assert world.record("job").state is State.LOST


def test_a_running_job_that_is_said_to_be_half_made_stays_as_it_is_for_a_while() -> None:
    world = World()
    observer = world.observer()
    run(world, "job")
    rounds(world, observer, 2)
    key = next(iter(world.backend.objects))
    world.backend.objects[key] = replace(world.backend.objects[key], state=State.QUEUED)
    rounds(world, observer, 5)
    assert world.record("job").state is State.RUNNING
