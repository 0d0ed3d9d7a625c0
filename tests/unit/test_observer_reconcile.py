"""Closing the gaps: what is due, deleted, expired or forgotten; on a clock moved by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pman_core.backend import Capabilities, Owned
from pman_core.errors import Unavailable, Unparseable
from pman_core.queues import Task
from pman_core.states import Reason, State
from pman_worker import lifecycle
from pman_worker.leader import Leader
from pman_worker.observer import Observer
from tests.unit.worker_harness import Killed, OneRound, World, rounds, submitted

JID = "chris-jid-1"


# Enqueuing again


def test_a_job_whose_message_was_lost_is_enqueued_again_ever_more_seldom() -> None:
    world = World()
    observer = world.observer()
    world.post()
    rounds(world, observer, 9)
    assert world.publisher.sent == []
    rounds(world, observer, 3)
    assert world.publisher.of(Task.SUBMIT) == [(JID, "")]
    rounds(world, observer, 3600)
    assert 5 < len(world.publisher.sent) < 15


def test_a_job_put_off_is_enqueued_when_its_time_has_come() -> None:
    world = World()
    observer = world.observer()
    world.backend.fail("submit", Unavailable("down"))
    submitted(world)
    rounds(world, observer, 3)
    assert world.publisher.of(Task.SUBMIT) == [(JID, "")]
    assert lifecycle.submit(world.ctx, JID, world.record().generation) == "ok"


def test_a_job_whose_worker_died_is_enqueued_when_its_lease_is_out() -> None:
    world = World()
    observer = world.observer()
    generation = world.post()
    world.backend.fail("submit", Killed())
    with pytest.raises(Killed):
        lifecycle.submit(world.ctx, JID, generation)
    rounds(world, observer, 59)
    assert world.publisher.sent == []
    rounds(world, observer, 3)
    assert world.publisher.of(Task.SUBMIT) == [(JID, "")]


def test_enqueuing_goes_on_while_the_scheduler_cannot_be_listed() -> None:
    world = World()
    observer = world.observer()
    world.backend.always["observe"] = Unavailable("down")
    world.backend.always["owned"] = Unavailable("down")
    world.post()
    rounds(world, observer, 12)
    assert world.publisher.of(Task.SUBMIT) == [(JID, "")]


# Deleting, expiring


def test_a_delete_whose_message_was_lost_is_done_all_the_same() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    world.store.delete(JID)
    rounds(world, observer, 2)
    assert world.backend.objects == {}
    assert not world.store.unsettled(JID)


def test_a_removal_that_fails_is_repeated_until_it_is_done() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    world.store.delete(JID)
    world.backend.fail("remove", *[Unavailable("down")] * 3)
    rounds(world, observer, 30)
    assert world.backend.objects == {}


def test_a_job_on_another_host_is_left_to_that_host() -> None:
    world = World()
    world.backend.capabilities = Capabilities(scope="host")
    observer = world.observer()
    generation = submitted(world)
    assert world.record().host == "host-a"
    world.store.delete(JID)
    other = World(pman_hostname="host-b")
    other.backend.capabilities = Capabilities(scope="host")
    other.ctx = replace(other.ctx, store=world.store)
    stranger = Observer(other.ctx, world.leader, world.clock.s)
    stranger.tick()
    assert other.publisher.sent == [(Task.DELETE, JID, generation, "host-a")]
    assert (JID, generation) in world.backend.objects
    world.clock.advance(lifecycle.BACKOFF_MAX_S)
    observer.tick()
    assert world.backend.objects == {}


@pytest.mark.parametrize("remove_jobs", [True, False])
def test_a_terminal_record_expires_after_the_retention_its_object_first(remove_jobs: bool) -> None:
    world = World(retention_hours=1, remove_jobs=remove_jobs)
    observer = world.observer()
    generation = submitted(world)
    world.backend.become(JID, State.SUCCEEDED, exit_code=0, finished_at=datetime.fromtimestamp(world.clock.s(), UTC))
    rounds(world, observer, 1)
    world.clock.advance(3500)
    rounds(world, observer, 1)
    assert world.record().state is State.SUCCEEDED
    world.clock.advance(200)
    world.backend.always["remove"] = Unavailable("down")
    rounds(world, observer, 1)
    assert (world.store.get(JID) is None) is not remove_jobs
    del world.backend.always["remove"]
    rounds(world, observer, 120)
    assert world.store.get(JID) is None
    assert ((JID, generation) in world.backend.objects) is not remove_jobs


# The sweep


def test_after_a_wipe_jobs_with_an_object_come_back_and_end_true() -> None:
    world = World()
    submitted(world, "running")
    submitted(world, "ended")
    submitted(world, "deleted")
    world.backend.become("running", State.RUNNING)
    world.backend.become("ended", State.FAILED, reason=Reason.NONZERO_EXIT, exit_code=4)
    world.wipe_store()
    world.store.delete("deleted")
    queued = world.post("fresh")
    assert lifecycle.submit(world.ctx, "fresh", queued) == "sweeping"
    observer = world.observer()
    rounds(world, observer, 2)
    assert world.record("running").state is State.RUNNING
    assert (world.record("ended").state, world.record("ended").exit_code) == (State.FAILED, 4)
    assert world.record("ended").cmd == "simplefsapp --path x /share/incoming /share/outgoing"
    assert world.store.get("deleted") is None
    assert not any(jid == "deleted" for jid, _ in world.backend.objects)
    assert lifecycle.submit(world.ctx, "fresh", queued) == "ok"
    assert len(world.backend.runs) == 4


def test_a_job_posted_again_after_a_wipe_becomes_the_one_that_runs() -> None:
    world = World()
    generation = submitted(world)
    world.backend.become(JID, State.RUNNING)
    world.wipe_store()
    again = world.post()
    rounds(world, world.observer(), 1)
    assert world.record().generation == generation
    assert world.record().state is State.RUNNING
    assert lifecycle.submit(world.ctx, JID, again) == "other-generation"
    assert len(world.backend.runs) == 1


def test_another_job_of_the_jid_waits_until_the_old_object_has_ended_and_is_gone() -> None:
    world = World()
    generation = submitted(world)
    world.backend.become(JID, State.RUNNING)
    world.wipe_store()
    other = world.post(image="another")
    observer = world.observer()
    rounds(world, observer, 1)
    assert lifecycle.submit(world.ctx, JID, other) == "blocked"
    world.backend.become(JID, State.SUCCEEDED, exit_code=0)
    rounds(world, observer, 70)
    assert (JID, generation) not in world.backend.objects
    assert lifecycle.submit(world.ctx, JID, other) == "ok"


def test_no_submit_begins_while_the_sweep_is_incomplete() -> None:
    world = World(swept=False)
    observer = world.observer()
    world.backend.fail("owned:after", *[Unavailable("broke off")] * 2)
    generation = world.post()
    observer.tick()
    assert lifecycle.submit(world.ctx, JID, generation) == "sweeping"
    rounds(world, observer, 3)
    assert lifecycle.submit(world.ctx, JID, generation) == "ok"


def test_a_wipe_under_a_leader_waits_for_native_calls_that_were_under_way() -> None:
    world = World()
    observer = world.observer()
    rounds(world, observer, 1)
    world.store._epochs.clear()
    rounds(world, observer, 59)
    assert not world.store.epoch("mock")
    rounds(world, observer, 3)
    assert world.store.epoch("mock")


def test_an_object_whose_handle_was_never_stored_is_found_by_the_sweep() -> None:
    world = World()
    generation = world.post()
    world.backend.fail("submit:after", Killed())
    with pytest.raises(Killed):
        lifecycle.submit(world.ctx, JID, generation)
    world.backend.become(JID, State.RUNNING)
    rounds(world, world.observer(), 1)
    assert world.record().state is State.RUNNING


def test_an_old_terminal_leftover_is_removed_not_adopted() -> None:
    world = World()
    generation = submitted(world)
    world.backend.become(JID, State.SUCCEEDED, finished_at=datetime(2020, 1, 1, tzinfo=UTC))
    world.wipe_store()
    rounds(world, world.observer(), 1)
    assert world.store.get(JID) is None
    assert (JID, generation) not in world.backend.objects


def test_an_object_with_an_unreadable_spec_is_told_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    generation = submitted(world)
    world.wipe_store()
    observed = world.backend.objects[JID, generation]
    world.backend.owned = lambda: iter([Owned(observed, None)])  # type: ignore[method-assign]
    rounds(world, world.observer(), 1)
    assert "unreadable spec" in caplog.text
    assert JID in caplog.text
    assert (JID, generation) in world.backend.objects


@pytest.mark.parametrize("remove_jobs", [True, False])
def test_after_a_wipe_the_newest_object_of_a_jid_is_the_job(remove_jobs: bool) -> None:
    world = World(remove_jobs=remove_jobs)
    older = submitted(world)
    obligation = world.store.delete(JID).obligation
    assert obligation is not None
    if not remove_jobs:
        assert lifecycle.remove(world.ctx, obligation)
    else:
        world.store.settle("mock", obligation)
        world.backend.become(JID, State.CANCELLED, reason=Reason.CANCELLED)
    newer = submitted(world, image="another")
    world.backend.become(JID, State.RUNNING, generation=newer)
    world.wipe_store()
    rounds(world, world.observer(), 130)
    record = world.record()
    assert (record.generation, record.state) == (newer, State.RUNNING)
    assert (JID, newer) in world.backend.objects
    assert ((JID, older) in world.backend.objects) is not remove_jobs


def test_one_who_stood_by_at_a_wipe_waits_as_long_as_one_who_led() -> None:
    world = World()
    leader = Leader(world.store, "mock", 6.0)
    standing_by = Observer(world.ctx, leader, world.clock.s)
    standing_by.run(OneRound())
    world.store._epochs.clear()
    leader.renew()
    rounds(world, standing_by, 59)
    assert not world.store.epoch("mock")
    rounds(world, standing_by, 3)
    assert world.store.epoch("mock")


@pytest.mark.parametrize("error", [Unparseable("what?", raw="x"), RuntimeError("a bug")])
def test_one_bad_removal_holds_up_no_other(error: Exception) -> None:
    world = World(retention_hours=1)
    observer = world.observer()
    for jid in ("bad", "good", "old-bad", "old-good"):
        submitted(world, jid)
    for jid in ("old-bad", "old-good"):
        world.backend.become(jid, State.SUCCEEDED, finished_at=datetime.fromtimestamp(world.clock.s(), UTC))
    rounds(world, observer, 1)
    world.clock.advance(3700)
    for jid in ("bad", "good"):
        world.store.delete(jid)
    remove = world.backend.remove

    def some_removals(jid: str, generation: str) -> bool:
        if jid.endswith("bad"):
            raise error
        return remove(jid, generation)

    world.backend.remove = some_removals  # type: ignore[method-assign]
    rounds(world, observer, 15)
    assert {jid for jid, _ in world.backend.objects} == {"bad", "old-bad"}
    assert world.store.get("old-good") is None
    assert world.store.get("old-bad") is not None


def test_while_the_queue_is_as_long_as_the_jobs_that_wait_nothing_is_repeated() -> None:
    world = World()
    observer = world.observer()
    world.post()
    world.publisher.waiting = 1
    rounds(world, observer, 3600)
    assert world.publisher.sent == []
    world.publisher.waiting = 0
    rounds(world, observer, 2)
    assert world.publisher.of(Task.SUBMIT) == [(JID, "")]


def test_a_job_refused_before_the_sweep_is_enqueued_at_once_after_it() -> None:
    world = World(swept=False)
    observer = world.observer()
    world.backend.always["owned"] = Unavailable("down")
    world.post()
    rounds(world, observer, 1500)
    world.publisher.sent.clear()
    del world.backend.always["owned"]
    rounds(world, observer, 2)
    assert world.publisher.of(Task.SUBMIT) == [(JID, "")]


def test_a_refusal_after_an_earlier_attempt_is_the_backend_s_to_say() -> None:
    world = World()
    generation = world.post()
    world.backend.fail("submit:after", Killed())
    with pytest.raises(Killed):
        lifecycle.submit(world.ctx, JID, generation)
    world.clock.advance(world.settings.submit_lease_s)
    world.backend.capabilities = Capabilities(any_image=False, any_image_hint="not any more")
    assert lifecycle.submit(world.ctx, JID, generation) == "ok"
    assert world.record().state is State.PENDING
