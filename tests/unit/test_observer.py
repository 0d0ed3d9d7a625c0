"""The observer as a process: its event stream, its lease, its loop."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pman_core.backend import Capabilities, Observed, WatchEvent
from pman_core.errors import StoreUnavailable, Unavailable
from pman_core.states import State
from pman_worker import lifecycle
from pman_worker.leader import Leader
from pman_worker.observer import Observer
from testbed.system import wait_for
from tests.unit.worker_harness import OneRound, World, rounds, submitted

JID = "chris-jid-1"


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
    if world.record().state is not State.SUCCEEDED:  # the second event came later than the first one
        observer.tick(wait_s=5)
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
    wait_for("a new stream", lambda: len(world.cursors) == 2)
    observer.stand_down()


def test_streams_that_break_at_once_are_begun_ever_more_seldom() -> None:
    """Each beginning lists everything, and a server that refuses a watch is not helped by that."""
    world = Watched()
    world.streams = [[Unavailable("403")] for _ in range(100)]
    observer = world.observer()
    begun = []
    for _ in range(100):
        observer.tick()
        assert observer._watcher is not None
        observer._watcher._thread.join(5)
        begun.append(len(world.cursors))
        world.clock.advance(0.2)
    assert begun[1] == 2, "the first break is followed at once"
    assert 6 <= begun[-1] <= 12, "in 20 s"
    world.clock.advance(60)
    observer.tick()
    observer._watcher._thread.join(5)
    assert len(world.cursors) == begun[-1] + 1
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
    Observer(world.ctx, Leader(world.store, "mock", 6.0)).run(OneRound())
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


def test_a_leader_lives_through_what_it_does_not_expect() -> None:
    world = World()
    leader = Leader(world.store, "mock", 6.0)

    def fail(*_: object) -> bool:
        raise RuntimeError("a script of ours is wrong")

    world.store.lead = fail  # type: ignore[method-assign]
    leader.renew()
    assert not leader.leads()
