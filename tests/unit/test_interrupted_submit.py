"""An object that was made and never started, and its jid deleted or posted again: it runs once or not at all."""

import pytest

from pman_core.backend import Observed
from pman_core.states import State
from pman_core.store.protocol import Moved, Obligation
from pman_worker import lifecycle
from tests.unit.worker_harness import JOB, Killed, World, rounds

JID = str(JOB["jid"])


def half_submitted(world: World, **fields: object) -> str:
    """POST a job and kill the worker between making its object and starting it; returns the generation."""
    generation = world.post(**fields)
    world.backend.fail("submit:made", Killed())
    with pytest.raises(Killed):
        lifecycle.submit(world.ctx, JID, generation)
    assert world.backend.runs == []
    return generation


def native(world: World) -> Observed:
    (observed,) = world.backend.objects.values()
    return observed


def test_a_job_posted_again_after_a_wipe_takes_it_over() -> None:
    world = World()
    generation = half_submitted(world)
    world.wipe_store()
    later = world.post()
    observer = world.observer()
    rounds(world, observer, 2)
    assert world.record().generation == generation
    assert lifecycle.submit(world.ctx, JID, later) is Moved.OTHER_GENERATION
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    assert world.backend.runs == [(JID, generation)]


def test_another_job_of_its_jid_does_not_wait_for_an_end_that_never_comes() -> None:
    world = World()
    half_submitted(world)
    world.wipe_store()
    other = world.post(cpu_limit="2000")
    rounds(world, world.observer(), 5)
    assert world.backend.objects == {}
    assert lifecycle.submit(world.ctx, JID, other) is Moved.OK
    assert world.backend.runs == [(JID, other)]


@pytest.mark.parametrize("remove_jobs", [True, False])
def test_a_deleted_one_never_runs(remove_jobs: bool) -> None:
    world = World(remove_jobs=remove_jobs)
    observer = world.observer()
    generation = half_submitted(world)
    world.store.delete(JID)
    rounds(world, observer, 180)
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.NO_RECORD
    assert world.backend.runs == []
    assert not world.store.unsettled(JID)
    if remove_jobs:
        world.clock.advance(world.settings.submit_fence_s)
        rounds(world, observer, 3)
        assert world.backend.objects == {}
    else:
        assert native(world).state is State.CANCELLED


def test_a_removal_that_leaves_nothing_of_it_is_final_when_the_fence_has_fallen() -> None:
    world = World()
    generation = half_submitted(world)
    world.clock.advance(world.settings.submit_lease_s + 1)
    world.store.delete(JID)
    world.backend.end = lambda jid, generation: world.backend.objects.clear()  # type: ignore[method-assign]
    assert not lifecycle.remove(world.ctx, Obligation(JID, generation))
    assert world.store.unsettled(JID)
    world.clock.advance(world.settings.submit_fence_s)
    assert lifecycle.remove(world.ctx, Obligation(JID, generation))
    assert not world.store.unsettled(JID)
