"""Jobs whose image is not there: asked for once, told while it comes, and nobody runs twice or is forgotten."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pman_core.broker import make_celery
from pman_core.errors import ImageMissing, RegistryAway, Rejected, StoreUnavailable, Unavailable, Unparseable
from pman_core.queues import PURPOSE, Purpose, Task, queue_name, worker_queues
from pman_core.states import Reason, State
from pman_core.store.protocol import Moved
from pman_core.store.pulls import Joined, Pull
from pman_worker import lifecycle, pulls
from pman_worker.reconcile import enqueue_due
from pman_worker.tasks import register
from testbed.system import wait_for
from tests.unit.worker_harness import JOB, Killed, ScriptedBackend, World

JID = "chris-jid-1"
IMAGE = str(JOB["image"])
Tell = Callable[[str], None]


class Registry(ScriptedBackend):
    """A scheduler that has no image until it is pulled. ``steps`` are called by the next pulls, one each."""

    first = False
    patience_s = float("inf")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.images: set[str] = set()
        self.pulled: list[str] = []
        self.steps: list[Callable[[Tell], object]] = []

    @property
    def pulls_first(self) -> bool:
        return self.first

    @property
    def pull_timeout_s(self) -> float:
        return self.patience_s

    def submit(self, spec: Any) -> Any:
        if spec.request.image not in self.images:
            raise ImageMissing(spec.request.image)
        return super().submit(spec)

    def pull(self, image: str, tell: Tell) -> None:
        self.pulled.append(image)
        if self.steps:
            self.steps.pop(0)(tell)
        self.images.add(image)


def raises(error: BaseException) -> Callable[[Tell], None]:
    def step(_: Tell) -> None:
        raise error

    return step


@pytest.fixture
def world() -> World:
    made = World()
    made.backend = Registry(made.settings, made.backend.own)
    made.ctx = pulls.Context(made.settings, made.store, made.backend, made.publisher, made.clock.s)
    return made


@pytest.fixture
def registry(world: World) -> Registry:
    assert isinstance(world.backend, Registry)
    return world.backend


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulls tell every moment."""
    monkeypatch.setattr(pulls, "TELL_EVERY_S", 0.001)


def ask(world: World, jid: str = JID, **fields: Any) -> str:
    """POST a job, and let its submit find that the image is missing."""
    generation = world.post(jid, **fields)
    assert lifecycle.submit(world.ctx, jid, generation) is Moved.OK
    world.clock.advance(0.001)
    return generation


def pull(world: World, generation: str, jid: str = JID, stop: threading.Event | None = None) -> Joined:
    return pulls.pull(world.ctx, jid, generation, stop)


def submits(world: World) -> list[str]:
    return [jid for jid, _ in world.publisher.of(Task.SUBMIT)]


# Asking


def test_a_missing_image_is_asked_for_and_costs_no_attempt(world: World) -> None:
    generation = ask(world)
    record = world.record()
    assert (record.state, record.attempts, record.message) == (State.QUEUED, 0, f"waiting for the image {IMAGE}")
    assert world.publisher.sent == [(Task.PULL, JID, generation, "")]
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.EARLY


def test_a_pull_that_was_lost_is_asked_for_again_ever_more_seldom(world: World) -> None:
    generation = ask(world)
    waits = []
    for _ in range(7):
        waits.append((world.record().next_attempt_at_ms - world.clock.ms()) / 1000)
        world.clock.now_s = world.record().next_attempt_at_ms / 1000
        assert enqueue_due(world.ctx) == 1
        assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    assert [round(wait) for wait in waits] == [30, 60, 120, 240, 480, 600, 600]
    assert len(world.publisher.of(Task.PULL)) == 8
    assert world.record().attempts == 0


def test_a_job_deleted_during_its_submit_asks_for_nothing(world: World, registry: Registry) -> None:
    generation = world.post()
    submit = registry.submit

    def delete_meanwhile(spec: Any) -> Any:
        world.store.delete(JID)
        return submit(spec)

    registry.submit = delete_meanwhile  # type: ignore[method-assign]
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.NO_RECORD
    assert world.publisher.sent == []


# Pulling


def test_one_pull_serves_all_and_each_runs_once(world: World, registry: Registry) -> None:
    jobs = {f"job-{number}": "" for number in range(20)}
    jobs = {jid: ask(world, jid) for jid in jobs}
    inside: list[Joined] = []

    def others_join(_: Tell) -> None:
        inside.extend(pull(world, generation, jid) for jid, generation in jobs.items() if jid != "job-0")

    registry.steps = [others_join]
    assert pull(world, jobs["job-0"], "job-0") is Joined.HOLDS
    assert inside == [Joined.WAITS] * 19
    assert registry.pulled == [IMAGE]
    assert sorted(submits(world)) == sorted(jobs)
    for jid, generation in jobs.items():
        assert lifecycle.submit(world.ctx, jid, generation) is Moved.OK
        assert pull(world, generation, jid) is Joined.GONE, "its message comes late"
    assert len(registry.runs) == 20
    assert {world.record(jid).message for jid in jobs} == {""}


def test_a_message_that_comes_when_the_image_is_there_submits_at_once(world: World, registry: Registry) -> None:
    first, second = ask(world, "a"), ask(world, "b")
    pull(world, first, "a")
    assert pull(world, second, "b") is Joined.READY
    assert submits(world) == ["a", "b"]
    assert registry.pulled == [IMAGE]
    assert world.record("b").image_at_ms


def test_messages_of_unknown_jobs_and_old_generations_pull_nothing(world: World, registry: Registry) -> None:
    assert pull(world, "01h") is Joined.GONE
    world.post()
    assert pull(world, "01h") is Joined.GONE
    assert registry.pulled == []


@pytest.mark.usefixtures("quick")
def test_all_who_wait_are_told_how_far_it_is(world: World, registry: Registry) -> None:
    jobs = {jid: ask(world, jid) for jid in ("a", "b")}

    def lease_left_s(jid: str) -> float:
        return float(world.record(jid).next_attempt_at_ms - world.clock.ms()) / 1000

    def step(tell: Tell) -> None:
        assert pull(world, jobs["b"], "b") is Joined.WAITS
        for text in ("10 %", "90 %"):
            tell(text)
            wait_for(text, lambda text=text: all(world.record(jid).message == text for jid in jobs))
        # It is silent for long, and goes on.
        for _ in range(5):
            world.clock.advance(pulls.LEASE_S - 1)
            wait_for("put off", lambda: all(lease_left_s(jid) == pulls.LEASE_S for jid in jobs))
            assert enqueue_due(world.ctx) == 0

    registry.steps = [step]
    assert pull(world, jobs["a"], "a") is Joined.HOLDS
    assert sorted(submits(world)) == ["a", "b"]


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_away_for_a_moment_does_not_end_the_pull(
    world: World, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generation = ask(world)
    tell_pull = world.store.tell_pull
    faults: list[Exception] = [StoreUnavailable("redis is away"), RuntimeError("a bug")]

    def tell(*args: Any) -> Any:
        if faults:
            raise faults.pop(0)
        return tell_pull(*args)

    def step(tell: Tell) -> None:
        tell("50 %")
        wait_for("told", lambda: world.record().message == "50 %")

    monkeypatch.setattr(world.store, "tell_pull", tell)
    registry.steps = [step]
    pull(world, generation)
    assert submits(world) == [JID]
    assert "redis is away" in caplog.text
    assert "a bug" in caplog.text


# How it ends


def test_a_refusal_fails_all_who_wait_with_its_words(world: World, registry: Registry) -> None:
    jobs = {jid: ask(world, jid) for jid in ("a", "b", "c")}

    def step(_: Tell) -> None:
        pull(world, jobs["b"], "b")
        raise Rejected("no such image", Reason.IMAGE_PULL)

    registry.steps = [step]
    pull(world, jobs["a"], "a")
    for jid in ("a", "b"):
        record = world.record(jid)
        assert (record.state, record.reason, record.message) == (State.FAILED, Reason.IMAGE_PULL, "no such image")
    assert world.record("c").state is State.QUEUED, "it has not joined, and asks for itself"
    assert submits(world) == []


def test_a_scheduler_that_is_away_puts_all_off_and_counts_nothing(world: World, registry: Registry) -> None:
    generation = ask(world)
    for _ in range(5):
        registry.steps = [raises(Unavailable("connection refused"))]
        assert pull(world, generation) is Joined.HOLDS
        record = world.record()
        assert (record.state, record.attempts) == (State.QUEUED, 0)
        assert "connection refused" in record.message
        assert 0 < record.next_attempt_at_ms - world.clock.ms() <= lifecycle.BACKOFF_MAX_S * 1000
        world.clock.advance(lifecycle.BACKOFF_MAX_S)
        assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    pull(world, generation)
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    assert registry.runs == [(JID, generation)]


def test_a_registry_that_stays_away_fails_those_whose_time_is_over(world: World, registry: Registry) -> None:
    registry.patience_s = 60
    old = ask(world)
    world.clock.advance(61)
    young = ask(world, "young")
    assert world.store.join_pull(Pull("mock", IMAGE, "x"), "young", young, 0.0) is not Joined.GONE
    registry.steps = [raises(RegistryAway("no such host"))]
    world.clock.advance(1)
    pull(world, old)
    record = world.record()
    assert (record.state, record.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert record.message == "given up after 60 s: no such host"
    assert world.record("young").state is State.QUEUED
    assert "no such host" in world.record("young").message


@pytest.mark.parametrize("error", [Unparseable("what is this?", raw="<html>"), RuntimeError("a bug")])
def test_what_nobody_expected_is_told_and_tried_again(world: World, registry: Registry, error: Exception) -> None:
    generation = ask(world)
    registry.steps = [raises(error)]
    with pytest.raises(type(error)):
        pull(world, generation)
    assert str(error) in world.record().message
    world.clock.advance(pulls.LEASE_S)
    assert enqueue_due(world.ctx) == 1
    lifecycle.submit(world.ctx, JID, generation)
    assert pull(world, generation) is Joined.HOLDS


def test_a_worker_killed_in_a_pull_is_followed_by_another(world: World, registry: Registry) -> None:
    jobs = {jid: ask(world, jid) for jid in ("a", "b")}

    def step(_: Tell) -> None:
        pull(world, jobs["b"], "b")
        raise Killed

    registry.steps = [step]
    with pytest.raises(Killed):
        pull(world, jobs["a"], "a")
    assert pull(world, jobs["b"], "b") is Joined.WAITS
    world.clock.advance(lifecycle.IMAGE_FIRST_S)
    assert enqueue_due(world.ctx) == 2
    for jid, generation in jobs.items():
        assert lifecycle.submit(world.ctx, jid, generation) is Moved.OK
    world.clock.advance(0.001)
    assert pull(world, jobs["a"], "a") is Joined.HOLDS
    for jid, generation in jobs.items():
        assert lifecycle.submit(world.ctx, jid, generation) is Moved.OK
    assert registry.pulled == [IMAGE] * 2
    assert len(registry.runs) == 2


def taken_over(world: World, generation: str) -> Pull:
    """Let the lease run out and another hold it."""
    world.clock.advance(pulls.LEASE_S)
    other = Pull("mock", IMAGE, "another")
    assert world.store.join_pull(other, JID, generation, pulls.LEASE_S) is Joined.HOLDS
    return other


def test_who_slept_and_was_refused_fails_nobody(world: World, registry: Registry) -> None:
    generation = ask(world)

    def step(_: Tell) -> None:
        taken_over(world, generation)
        raise Rejected("took too long", Reason.IMAGE_PULL)

    registry.steps = [step]
    pull(world, generation)
    assert world.record().state is State.QUEUED


def test_who_sleeps_between_the_refusal_and_the_record_fails_nobody(
    world: World, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = ask(world)
    advance_many = world.store.advance_many

    def late(changes: Any) -> Any:
        taken_over(world, generation)
        return advance_many(changes)

    monkeypatch.setattr(world.store, "advance_many", late)
    registry.steps = [raises(Rejected("no access", Reason.IMAGE_PULL))]
    pull(world, generation)
    assert world.record().state is State.QUEUED


@pytest.mark.usefixtures("quick")
def test_who_slept_is_silent_and_its_success_counts(
    world: World, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    generation = ask(world)

    def step(tell: Tell) -> None:
        other = taken_over(world, generation)
        world.store.tell_pull(other, "30 %", pulls.LEASE_S)
        tell("old news")
        wait_for("it notices", lambda: "lost its lease" in caplog.text)
        tell("older news")

    registry.steps = [step]
    pull(world, generation)
    assert caplog.text.count("lost its lease") == 1
    assert "news" not in world.record().message
    assert submits(world) == [JID]
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK


@pytest.mark.usefixtures("quick")
def test_a_pull_that_nobody_waits_for_is_given_up(world: World, registry: Registry) -> None:
    generation = ask(world)

    def step(tell: Tell) -> None:
        world.store.delete(JID)

        def has_given_up() -> bool:
            try:
                tell("50 %")
            except pulls.GivenUp:
                return True
            return False

        wait_for("given up", has_given_up)
        tell("51 %")

    registry.steps = [step]
    assert pull(world, generation) is Joined.HOLDS
    assert registry.images == set()
    assert submits(world) == []
    another = ask(world, "b")
    assert pull(world, another, "b") is Joined.HOLDS, "the lease was given back"


def test_a_worker_that_is_to_end_gives_up_and_all_are_due_at_once(world: World, registry: Registry) -> None:
    generation, stop = ask(world), threading.Event()

    def step(tell: Tell) -> None:
        tell("1 %")
        stop.set()
        tell("2 %")

    registry.steps = [step]
    pull(world, generation, stop=stop)
    assert registry.images == set()
    assert world.record().state is State.QUEUED
    assert enqueue_due(world.ctx) == 1


# Pulling before every submit


def test_always_pulls_once_for_each_job_even_an_image_that_is_there(world: World, registry: Registry) -> None:
    registry.first = True
    registry.images.add(IMAGE)
    generation = ask(world)
    assert registry.runs == []
    assert pull(world, generation) is Joined.HOLDS
    marked_ms = world.record().image_at_ms
    assert marked_ms
    registry.fail("submit", Unavailable("a moment, please"))
    lifecycle.submit(world.ctx, JID, generation)
    world.clock.advance(lifecycle.BACKOFF_MAX_S)
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    assert registry.runs == [(JID, generation)]
    assert registry.pulled == [IMAGE]
    second = ask(world, "b")
    assert pull(world, second, "b") is Joined.HOLDS
    assert registry.pulled == [IMAGE] * 2


def test_an_image_that_went_away_again_is_pulled_again(world: World, registry: Registry) -> None:
    generation = ask(world)
    pull(world, generation)
    registry.images.clear()
    world.clock.advance(1)
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    assert world.record().image_at_ms == 0
    assert pull(world, generation) is Joined.HOLDS
    assert lifecycle.submit(world.ctx, JID, generation) is Moved.OK
    assert registry.runs == [(JID, generation)]


# The task


def test_the_task_is_acknowledged_early_and_reaches_the_job(world: World, registry: Registry) -> None:
    app = make_celery(world.settings)
    stop = threading.Event()
    register(app, world.ctx, stop)
    task = app.tasks[Task.PULL.value]
    assert task.acks_late is False, "it may take longer than the visibility time-out"
    assert app.tasks[Task.SUBMIT.value].acks_late is True
    generation = ask(world)
    assert task.apply(args=(JID, generation)).successful()
    assert registry.pulled == [IMAGE]


def test_pulls_have_a_queue_that_the_worker_for_everything_leaves_alone() -> None:
    assert PURPOSE[Task.PULL] is Purpose.PULL
    assert queue_name("docker", Purpose.PULL) == "pman.docker.pull"
    assert not [name for name in worker_queues("docker", "host-a") if "pull" in name]
