"""An image that is pulled and missed all the same, and a job that is deleted while it asks for its image."""

from collections.abc import Callable

from pman_core.backend import Handle
from pman_core.errors import ImageMissing
from pman_core.job import JobSpec
from pman_core.queues import Task
from pman_core.states import Reason, State
from pman_core.store.protocol import Moved, Obligation
from pman_worker import lifecycle, pulls
from pman_worker.context import Context
from tests.unit.worker_harness import JOB, ScriptedBackend, World

JID = str(JOB["jid"])


class Misses(ScriptedBackend):
    """Misses every image so many times, whatever is pulled."""

    misses = 1_000_000
    pulled = 0

    def submit(self, spec: JobSpec) -> Handle:
        self._enter("submit")
        if self.misses:
            self.misses -= 1
            raise ImageMissing(spec.request.image)
        return super().submit(spec)

    def pull(self, image: str, tell: Callable[[str], None]) -> None:
        self.pulled += 1


def missing() -> tuple[World, Misses]:
    world = World()
    backend = Misses(world.settings, world.backend.own)
    world.ctx = Context(world.settings, world.store, backend, world.publisher, world.clock.s)
    return world, backend


def submit_and_pull(world: World, generation: str) -> Moved:
    moved = lifecycle.submit(world.ctx, JID, generation)
    world.clock.advance(0.001)
    pulls.pull(world.ctx, JID, generation)
    return moved


def test_pull_and_submit_do_not_go_on_in_a_circle() -> None:
    world, backend = missing()
    generation = world.post()
    while world.record().state is State.QUEUED:
        assert submit_and_pull(world, generation) is Moved.OK
    record = world.record()
    assert (record.state, record.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert str(JOB["image"]) in record.message
    assert backend.pulled == world.settings.submit_attempts_max


def test_an_image_that_is_missed_again_and_then_is_there_is_no_failure() -> None:
    world, backend = missing()
    backend.misses = world.settings.submit_attempts_max
    generation = world.post()
    for _ in range(backend.misses):
        submit_and_pull(world, generation)
    assert submit_and_pull(world, generation) is Moved.OK
    assert backend.runs == [(JID, generation)]


def test_a_job_deleted_while_it_finds_its_image_missing_is_settled_at_once() -> None:
    world, backend = missing()
    generation = world.post()
    backend.fail("submit", lambda: world.store.delete(JID))
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.NO_RECORD
    assert world.publisher.of(Task.PULL) == []
    assert lifecycle.remove(world.ctx, Obligation(JID, generation))
    assert not world.store.unsettled(JID)


def test_a_job_deleted_while_it_is_given_up_for_its_image_is_settled_at_once() -> None:
    world, backend = missing()
    generation = world.post()
    for _ in range(world.settings.submit_attempts_max):
        assert submit_and_pull(world, generation) is Moved.OK
    backend.fail("submit", lambda: world.store.delete(JID))
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.NO_RECORD
    lifecycle.remove(world.ctx, Obligation(JID, generation))
    assert not world.store.unsettled(JID)
