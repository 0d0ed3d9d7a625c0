"""The Celery tasks: the right function with the right job, and no failure without the job's name."""

from typing import Any

import pytest

from pman_core.broker import make_celery
from pman_core.errors import StoreUnavailable, Unparseable
from pman_core.queues import Task
from pman_core.states import State
from pman_core.store.protocol import Obligation
from pman_worker import lifecycle
from pman_worker.tasks import register
from tests.unit.worker_harness import World

JID = "chris-jid-1"


class Tasks:
    """The registered tasks over a world, run in this thread."""

    def __init__(self) -> None:
        self.world = World()
        self.app = make_celery(self.world.settings)
        register(self.app, self.world.ctx)

    def run(self, task: Task, generation: str) -> Any:
        return self.app.tasks[task.value].apply(args=(JID, generation))


def test_submit_refresh_and_delete_reach_the_job() -> None:
    tasks = Tasks()
    generation = tasks.world.post()
    assert tasks.run(Task.SUBMIT, generation).successful()
    assert tasks.world.record().state is State.PENDING
    tasks.world.backend.become(JID, State.RUNNING)
    tasks.world.observer().tick()
    assert tasks.run(Task.REFRESH, generation).successful()
    assert tasks.world.record().logs == "a line\n"
    assert tasks.world.store.delete(JID).obligation == Obligation(JID, generation)
    assert tasks.run(Task.DELETE, generation).successful()
    assert tasks.world.backend.objects == {}


@pytest.mark.parametrize(
    ("error", "is_failure", "told"),
    [
        (StoreUnavailable("redis is away"), False, "redis is away"),
        (Unparseable("what is this?", raw="<html>"), True, "<html>"),
        (RuntimeError("a bug"), True, "a bug"),
    ],
)
def test_a_failure_is_told_with_its_job(
    error: Exception, is_failure: bool, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(lifecycle, "submit", fail)
    tasks = Tasks()
    generation = tasks.world.post()
    assert tasks.run(Task.SUBMIT, generation).failed() is is_failure
    ours = "".join(record.getMessage() + (record.exc_text or "") for record in caplog.records if "tasks" in record.name)
    assert JID in ours
    assert generation in ours
    assert told in ours
