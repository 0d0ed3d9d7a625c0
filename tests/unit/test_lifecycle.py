"""The life of one job in a worker's hands, at every point where a worker can die, be slow or be told otherwise."""

import pytest

from pman_core.backend import Capabilities
from pman_core.errors import Conflict, Rejected, StoreUnavailable, Unavailable, Unparseable, WrongHost
from pman_core.queues import Task
from pman_core.states import Reason, State
from pman_core.store.protocol import LOG_BYTES_MAX, Claim, Moved, Obligation
from pman_worker import lifecycle
from tests.unit.worker_harness import Killed, World

JID = "chris-jid-1"


def submit(world: World, generation: str, jid: str = JID) -> Moved:
    return lifecycle.submit(world.ctx, jid, generation)


def test_a_submitted_job_is_pending_and_has_its_handle() -> None:
    world = World()
    generation = world.post()
    assert submit(world, generation) is Moved.OK
    record = world.record()
    assert record.state is State.PENDING
    assert "pman-chris-jid-1" in record.handle_json
    assert record.attempts == 1
    assert world.backend.runs == [(JID, generation)]


def test_a_repeated_message_runs_nothing_again() -> None:
    world = World()
    generation = world.post()
    submit(world, generation)
    assert submit(world, generation) is Moved.FORBIDDEN
    assert len(world.backend.runs) == 1


def test_a_message_of_an_unknown_job_or_an_old_generation_is_dropped() -> None:
    world = World()
    assert submit(world, "01h") is Moved.NO_RECORD
    world.post()
    assert submit(world, "01h") is Moved.OTHER_GENERATION
    assert world.backend.calls == []


def test_nothing_is_submitted_before_the_first_complete_sweep() -> None:
    world = World(swept=False)
    assert submit(world, world.post()) is Moved.SWEEPING
    assert world.record().state is State.QUEUED
    assert world.backend.runs == []


def test_what_the_capabilities_rule_out_is_rejected_without_a_call() -> None:
    world = World()
    world.backend.capabilities = Capabilities(any_image=False, any_image_hint="no images here")
    submit(world, world.post(gpu_limit=2))
    record = world.record()
    assert record.state is State.FAILED
    assert record.reason == Reason.REJECTED
    assert "no images here" in record.message
    assert "gpu_limit" in record.message
    assert world.backend.calls == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Rejected("no such user"), Reason.REJECTED),
        (Rejected("no such image", Reason.IMAGE_PULL), Reason.IMAGE_PULL),
        (Conflict("name in use"), Reason.CONFLICT),
    ],
)
def test_a_refusal_of_the_scheduler_ends_the_job_with_its_words(error: Exception, reason: Reason) -> None:
    world = World()
    world.backend.fail("submit", error)
    submit(world, world.post())
    record = world.record()
    assert (record.state, record.reason, record.message) == (State.FAILED, reason, str(error))


def test_an_unavailable_scheduler_puts_the_job_off_and_counts_nothing() -> None:
    world = World()
    generation = world.post()
    for tries in range(50):
        world.backend.fail("submit", Unavailable("connection refused"))
        assert submit(world, generation) is Moved.OK
        record = world.record()
        assert (record.state, record.attempts, record.retries) == (State.QUEUED, 0, tries + 1)
        assert "connection refused" in record.message
        assert submit(world, generation) is Moved.EARLY
        world.clock.advance(lifecycle.BACKOFF_MAX_S)
    assert submit(world, generation) is Moved.OK
    assert world.record().message == ""


def test_the_back_off_doubles_up_to_its_cap_with_jitter() -> None:
    for tries, full_s in ((0, 1.0), (1, 2.0), (3, 8.0), (10, 60.0), (10_000, 60.0)):
        waits = {lifecycle.backoff_s(tries) for _ in range(50)}
        assert len(waits) > 1
        assert all(full_s / 2 <= wait <= full_s for wait in waits)


@pytest.mark.parametrize("point", ["submit", "submit:after"])
def test_a_worker_killed_around_the_native_call_leaves_one_run(point: str) -> None:
    world = World()
    generation = world.post()
    world.backend.fail(point, Killed())
    with pytest.raises(Killed):
        submit(world, generation)
    assert world.record().state is State.SUBMITTING
    assert submit(world, generation) is Moved.LEASED
    world.clock.advance(world.settings.submit_lease_s)
    assert submit(world, generation) is Moved.OK
    assert world.record().state is State.PENDING
    assert world.backend.runs == [(JID, generation)]


def test_a_worker_that_lost_its_lease_while_it_slept_submits_nothing() -> None:
    world = World()
    generation = world.post()
    claim = world.store.claim

    def sleep_after_claiming(*args: str) -> Claim:
        granted = claim(*args)
        world.clock.advance(world.settings.submit_lease_s - world.backend.submit_timeout_s + 1)
        return granted

    world.store.claim = sleep_after_claiming  # type: ignore[method-assign]
    assert submit(world, generation) is Moved.STALE
    assert world.backend.calls == []


def test_the_result_of_a_worker_that_slept_in_the_call_does_not_overrule_the_next_one() -> None:
    world = World()
    generation = world.post()

    def another_takes_over() -> None:
        world.clock.advance(world.settings.submit_lease_s + 1)
        assert submit(world, generation) is Moved.OK

    world.backend.fail("submit", another_takes_over)
    world.backend.fail("submit:after")
    assert submit(world, generation) is Moved.STALE
    assert world.record().state is State.PENDING
    assert len(world.backend.runs) == 1


@pytest.mark.parametrize("error", [Unparseable("what?", raw="<html>"), RuntimeError("a bug"), StoreUnavailable("gone")])
def test_what_is_not_understood_changes_no_state_and_is_not_swallowed(error: Exception) -> None:
    world = World()
    generation = world.post()
    world.backend.fail("submit", error)
    with pytest.raises(type(error)):
        submit(world, generation)
    assert world.record().state is State.SUBMITTING


def poison(world: World) -> str:
    generation = world.post()
    for _ in range(world.settings.submit_attempts_max):
        world.backend.fail("submit", Killed())
        with pytest.raises(Killed):
            submit(world, generation)
        world.clock.advance(world.settings.submit_lease_s)
    return generation


def test_a_poisonous_job_fails_once_its_fence_is_down_and_a_look_shows_nothing() -> None:
    world = World()
    generation = poison(world)
    assert submit(world, generation) is Moved.EXHAUSTED
    assert world.record().state is State.SUBMITTING
    world.clock.advance(world.settings.submit_fence_s)
    world.backend.fail("observe", Unavailable("down"))
    with pytest.raises(Unavailable):
        submit(world, generation)
    world.backend.unknown = {JID}
    assert submit(world, generation) is Moved.EXHAUSTED
    world.backend.unknown = set()
    assert submit(world, generation) is Moved.OK
    record = world.record()
    assert (record.state, record.reason) == (State.FAILED, Reason.POISON)
    assert "5 attempts" in record.message


def test_an_exhausted_job_that_runs_after_all_is_adopted() -> None:
    world = World(submit_attempts_max=1)
    generation = world.post()
    world.backend.fail("submit:after", Killed())
    with pytest.raises(Killed):
        submit(world, generation)
    world.clock.advance(world.settings.submit_lease_s)
    world.backend.become(JID, State.RUNNING)
    assert submit(world, generation) is Moved.OK
    assert world.record().state is State.RUNNING


# Deleting


def delete(world: World) -> Obligation:
    obligation = world.store.delete(JID).obligation
    assert obligation is not None
    return obligation


def test_a_job_deleted_during_its_native_call_is_removed_by_its_submitter() -> None:
    world = World()
    generation = world.post()
    world.backend.fail("submit", lambda: delete(world))
    assert submit(world, generation) is Moved.NO_RECORD
    assert world.backend.objects == {}
    assert world.store.obligations("mock", 10) == []
    assert not world.store.unsettled(JID)


@pytest.mark.parametrize("error", [Unavailable("down"), Rejected("no"), Conflict("taken")])
def test_a_job_deleted_during_a_native_call_that_fails_leaves_its_jid_free(error: Exception) -> None:
    world = World()
    generation = world.post()

    def fail() -> None:
        delete(world)
        raise error

    world.backend.fail("submit", fail)
    assert submit(world, generation) is Moved.NO_RECORD
    assert world.store.obligations("mock", 10) == []
    assert not world.store.unsettled(JID)


def test_a_removal_is_not_final_while_a_submitter_is_at_work() -> None:
    world = World()
    generation = world.post()
    world.backend.fail("submit", Killed())
    with pytest.raises(Killed):
        submit(world, generation)
    obligation = delete(world)
    assert not lifecycle.remove(world.ctx, obligation)
    assert world.store.unsettled(JID)
    world.clock.advance(world.settings.submit_lease_s)
    assert not lifecycle.remove(world.ctx, obligation)
    assert world.store.unsettled(JID)
    world.clock.advance(world.settings.submit_fence_s)
    assert lifecycle.remove(world.ctx, obligation)
    assert not world.store.unsettled(JID)


def test_a_submitter_that_slept_over_its_lease_starts_nothing_while_its_successor_runs() -> None:
    world = World()
    generation = world.post()

    def everything_else_happens() -> None:
        obligation = delete(world)
        world.clock.advance(world.settings.submit_lease_s + 1)
        assert not lifecycle.remove(world.ctx, obligation)
        assert submit(world, world.post(image="another")) is Moved.BLOCKED

    world.backend.fail("submit", everything_else_happens)
    assert submit(world, generation) is Moved.OTHER_GENERATION
    assert world.backend.objects == {}
    assert not world.store.unsettled(JID)


def test_after_a_wipe_during_the_native_call_the_job_is_left_for_the_sweep() -> None:
    world = World()
    generation = world.post()
    fresh = World()

    def wipe() -> None:
        world.store._jobs.clear()

    world.backend.fail("submit", wipe)
    assert submit(world, generation) is Moved.NO_RECORD
    assert (JID, generation) in world.backend.objects
    assert fresh.backend.objects == {}


def test_a_new_job_of_the_jid_waits_for_the_old_one_and_is_woken_by_its_removal() -> None:
    world = World()
    submit(world, world.post())
    obligation = delete(world)
    successor = world.post(image="another")
    assert submit(world, successor) is Moved.BLOCKED
    assert lifecycle.remove(world.ctx, obligation)
    assert world.publisher.sent == [(Task.SUBMIT, JID, successor, "")]
    assert submit(world, successor) is Moved.OK


def test_a_removal_that_cannot_be_verified_is_tried_again() -> None:
    world = World()
    submit(world, world.post())
    obligation = delete(world)
    world.backend.fail("remove", Unavailable("down"))
    assert not lifecycle.remove(world.ctx, obligation)
    assert world.store.obligations("mock", 10) == []
    world.clock.advance(lifecycle.BACKOFF_MAX_S)
    assert world.store.obligations("mock", 10) == [obligation]
    world.backend.unknown = {JID}
    assert not lifecycle.remove(world.ctx, obligation)
    world.backend.unknown = set()
    assert lifecycle.remove(world.ctx, obligation)


def test_the_removal_of_a_job_on_another_host_is_handed_to_that_host() -> None:
    world = World()
    submit(world, world.post())
    obligation = delete(world)
    world.backend.fail("remove", WrongHost("host-b"))
    assert not lifecycle.remove(world.ctx, obligation)
    assert world.publisher.of(Task.DELETE) == [(JID, "host-b")]


def test_with_remove_jobs_off_the_job_is_ended_and_its_object_stays() -> None:
    world = World(remove_jobs=False)
    generation = world.post()
    submit(world, generation)
    assert lifecycle.remove(world.ctx, delete(world))
    assert world.backend.objects[JID, generation].state is State.CANCELLED
    assert world.store.get(JID) is None


def test_behind_a_fence_the_ended_object_keeps_its_name_until_the_fence_falls() -> None:
    world = World()
    generation = world.post()
    world.backend.fail("submit:after", Killed())
    with pytest.raises(Killed):
        submit(world, generation)
    world.clock.advance(world.settings.submit_lease_s)
    submit(world, generation)
    obligation = delete(world)
    assert lifecycle.remove(world.ctx, obligation)
    assert world.backend.objects[JID, generation].state is State.CANCELLED
    assert not world.store.unsettled(JID)
    world.clock.advance(world.settings.submit_fence_s)
    assert world.store.obligations("mock", 10) == [obligation]
    assert lifecycle.remove(world.ctx, obligation)
    assert world.backend.objects == {}
    assert world.store.obligations("mock", 10) == []


# Live logs


def test_the_log_of_a_running_job_is_read_into_its_record() -> None:
    world = World()
    generation = world.post()
    submit(world, generation)
    assert not lifecycle.refresh(world.ctx, JID, generation)
    world.backend.become(JID, State.RUNNING)
    world.observer().tick()
    world.backend.log_text = "x" * (2 * LOG_BYTES_MAX)
    assert lifecycle.refresh(world.ctx, JID, generation)
    assert len(world.record().logs) == LOG_BYTES_MAX
    world.backend.fail("logs", Unavailable("down"))
    assert not lifecycle.refresh(world.ctx, JID, generation)
    assert not lifecycle.refresh(world.ctx, JID, "01h")


def test_an_old_object_that_vanished_by_itself_does_not_block_its_jid_for_ever() -> None:
    world = World()
    submit(world, world.post())
    old = world.backend.objects.copy()
    world.backend.become(JID, State.RUNNING)
    world.wipe_store()
    successor = world.post(image="another")
    world.observer().tick()
    world.publisher.sent.clear()
    assert submit(world, successor) is Moved.BLOCKED
    assert world.publisher.sent == []
    for key in old:
        del world.backend.objects[key]
    assert submit(world, successor) is Moved.BLOCKED
    assert world.publisher.sent == [(Task.SUBMIT, JID, successor, "")]
    assert submit(world, successor) is Moved.OK
