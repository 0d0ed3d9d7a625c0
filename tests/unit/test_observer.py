"""The observer, one round at a time on a clock moved by hand: what is seen, what is not, and what follows."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pman_core.backend import Capabilities, Observed, Owned, WatchEvent
from pman_core.errors import StoreUnavailable, Unavailable, Unparseable
from pman_core.queues import Task
from pman_core.states import Reason, State
from pman_worker import lifecycle
from pman_worker.leader import Leader
from pman_worker.observer import Observer
from tests.unit.worker_harness import Killed, World

JID = "chris-jid-1"


def submitted(world: World, jid: str = JID, **fields: Any) -> str:
    generation = world.post(jid, **fields)
    lifecycle.submit(world.ctx, jid, generation)
    return generation


def rounds(world: World, observer: Observer, count: int, step_s: float = 1.0) -> None:
    for _ in range(count):
        observer.tick()
        world.clock.advance(step_s)


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


# Watching


class Watched(World):
    """A world whose scheduler has an event stream: ``streams`` is what each watch yields."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[list[Observed | BaseException]] = []
        self.cursors: list[str] = []
        self.backend.capabilities = Capabilities(watches=True)
        self.backend.cursor = lambda: str(len(self.cursors))  # type: ignore[method-assign]
        self.backend.watch = self._watch  # type: ignore[method-assign]

    def _watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        self.cursors.append(cursor)
        for item in self.streams.pop(0):
            if isinstance(item, BaseException):
                raise item
            yield WatchEvent("next", item)
        stop.wait(5)


def test_events_become_changes_without_a_listing() -> None:
    world = Watched()
    generation = submitted(world)
    event = world.backend.objects[JID, generation]
    world.backend.become(JID, State.SUCCEEDED, exit_code=0)
    world.streams = [[event, world.backend.objects[JID, generation]]]
    world.backend.objects[JID, generation] = event
    observer = world.observer()
    observer.tick(wait_s=5)
    observer.tick(wait_s=0.05)
    assert world.record().state is State.SUCCEEDED
    observer.stand_down()


@pytest.mark.parametrize("fault", [Unavailable("410 Gone"), RuntimeError("a bug in the backend")])
def test_a_broken_stream_is_followed_by_a_listing_and_a_new_stream(fault: Exception) -> None:
    world = Watched()
    submitted(world)
    world.streams = [[fault], []]
    observer = world.observer()
    observer.tick(wait_s=0.01)
    watcher = observer._watcher
    assert watcher is not None
    watcher._thread.join(5)
    world.backend.become(JID, State.RUNNING)
    observer.tick(wait_s=0.01)
    assert world.record().state is State.RUNNING
    assert len(world.cursors) == 2
    observer.stand_down()


# Leading


def test_one_leads_and_another_takes_over_when_the_lease_is_out() -> None:
    world = World()
    first, second = (Leader(world.store, "mock", 6.0) for _ in range(2))
    first.renew()
    second.renew()
    assert (first.leads(), second.leads()) == (True, False)
    world.clock.advance(6)
    second.renew()
    first.renew()
    assert (first.leads(), second.leads()) == (False, True)


def test_a_leader_that_stops_gives_its_lease_back() -> None:
    world = World()
    first, second = (Leader(world.store, "mock", 6.0) for _ in range(2))
    stop = threading.Event()
    stop.set()
    first.keep(stop)
    second.renew()
    assert (first.leads(), second.leads()) == (False, True)


def test_a_leader_does_not_lead_on_a_store_that_does_not_answer() -> None:
    world = World()
    leader = Leader(world.store, "mock", 6.0)

    def away(*_: object) -> bool:
        raise StoreUnavailable("gone")

    world.store.lead = away  # type: ignore[method-assign]
    leader.renew()
    assert not leader.leads()
    world.store.resign = away  # type: ignore[method-assign, assignment]
    stop = threading.Event()
    stop.set()
    leader.keep(stop)
    assert not leader.leads()


def test_a_failing_round_does_not_end_the_loop() -> None:
    world = World()
    observer = world.observer()
    submitted(world)
    stop = threading.Event()
    seen: list[int] = []

    def fail_then_stop() -> None:
        seen.append(1)
        if len(seen) == 2:
            stop.set()
        raise RuntimeError("a bug")

    world.backend.fail("observe", fail_then_stop, fail_then_stop)
    world.backend.poll_s = 0.0
    observer = Observer(world.ctx, world.leader)
    observer.run(stop)
    assert len(seen) == 2


def test_one_who_stands_by_does_nothing() -> None:
    world = World()
    submitted(world)
    world.backend.calls.clear()
    stop = threading.Event()
    standing_by = Observer(world.ctx, Leader(world.store, "mock", 6.0))
    threading.Timer(0.05, stop.set).start()
    standing_by.run(stop)
    assert world.backend.calls == []


def test_of_two_objects_of_one_jid_in_one_sweep_only_one_becomes_the_record() -> None:
    world = World()
    older = submitted(world)
    world.wipe_store()
    newer = world.post()
    world.store.begin_epoch("mock")
    lifecycle.submit(world.ctx, JID, newer)
    record = world.record()
    assert record.state is State.PENDING
    world.store._jobs[JID].record = replace(record, state=State.SUBMITTING, lease_until_ms=0, handle_json="")
    world.backend.objects = dict(reversed(world.backend.objects.items()))
    rounds(world, world.observer(), 3)
    assert world.record().generation == newer
    assert (JID, older) not in world.backend.objects
    assert (JID, newer) in world.backend.objects


# What a review has found


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
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    standing_by.run(stop)
    world.store._epochs.clear()
    leader.renew()
    rounds(world, standing_by, 59)
    assert not world.store.epoch("mock")
    rounds(world, standing_by, 3)
    assert world.store.epoch("mock")


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

    def some_removals(jid: str, generation: str, *, keep_object: bool = False) -> None:
        if jid.endswith("bad"):
            raise error
        remove(jid, generation, keep_object=keep_object)

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


def test_a_leader_lives_through_what_it_does_not_expect() -> None:
    world = World()
    leader = Leader(world.store, "mock", 6.0)

    def fail(*_: object) -> bool:
        raise RuntimeError("a script of ours is wrong")

    world.store.lead = fail  # type: ignore[method-assign]
    leader.renew()
    assert not leader.leads()
