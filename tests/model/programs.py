"""The real code that the actors of the model are: a worker's tasks, the API's views, parts of an observer's round."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from pman_api.app import create_app
from pman_core.queues import Message, Task
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.store.protocol import Creation, Obligation
from pman_worker import lifecycle, reconcile
from pman_worker.context import Context
from pman_worker.leader import Leader
from pman_worker.observer import Observer
from tests.model.scheduler import ModelBackend
from tests.model.tape import Program, Tape

BACKEND = "mock"
JID = "job"
BODY = {
    "jid": JID, "auid": "model", "number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 100, "gpu_limit": 0,
    "entrypoint": ["true"], "type": "fs", "input_dir": "in", "output_dir": "out",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setup:
    """What all actors of one scenario have in common."""

    settings: Settings
    in_two_steps: bool = False
    confirms: bool = True

    @classmethod
    def of(cls, *, in_two_steps: bool = False, confirms: bool = True, **settings: object) -> "Setup":
        common = {"container_env": BACKEND, "storebase": Path("/store"), "pman_hostname": "host"} | settings
        return cls(Settings.model_validate(common), in_two_steps, confirms)

    def context(self, tape: Tape) -> Context:
        backend = ModelBackend(self.settings, tape, in_two_steps=self.in_two_steps, confirms=self.confirms)
        return Context(
            self.settings,
            tape.remote("store", instance=self.settings.pman_instance),
            backend,
            tape.remote("queue"),
            lambda: float(tape.ask("clock", "s")),
        )


def worker(setup: Setup, task: Task, generation: str, token: str) -> Program:
    """One message in the hands of a worker."""

    def submit(tape: Tape) -> None:
        with patch.object(lifecycle, "secrets", SimpleNamespace(token_hex=lambda _: token)):
            lifecycle.submit(setup.context(tape), JID, generation)

    def delete(tape: Tape) -> None:
        ctx = setup.context(tape)
        lifecycle.remove(ctx, Obligation(JID, generation, ctx.host))

    return {Task.SUBMIT: submit, Task.DELETE: delete}[task]


@dataclass(frozen=True, slots=True)
class Announcement:
    """The message that ``create`` enqueues with its record; :mod:`tests.model.world` puts it into the queue."""

    def __call__(self, jid: str, generation: str) -> Message:
        return Message(Task.SUBMIT, f"{jid} {generation}")


def client(setup: Setup, order: str) -> Program:
    """One request to the API: ``DELETE``, or a POST whose body is told by the word after it."""

    def request(tape: Tape) -> None:
        def create(request: JobRequest, backend: str, _: object) -> Creation:
            creation: Creation = tape.ask("store", "create", request, backend, Announcement())
            return creation

        store = tape.remote("store", report=lambda _: None, create=create)
        # A queue may be so slow that the claim of a DELETE is over before anybody has its message.
        settings = setup.settings.model_copy(update={"requeue_s": 0.0})
        http = create_app(settings, store, tape.remote("queue"), monotonic=lambda: 0.0).test_client()
        if order == "DELETE":
            http.delete(f"/api/v1/{JID}/")
        else:
            http.post("/api/v1/", json=BODY | {"image": order.removeprefix("POST ")})

    return request


def observer(setup: Setup, token: str) -> Program:
    """One observer, which is ordered to do the parts of its round in any order.

    The time that it may spend on a round does not pass here; how long it waits after a wipe does.
    """

    def live(tape: Tape) -> None:
        ctx = setup.context(tape)
        leader = Leader(ctx.store, BACKEND, 6.0)
        leader.token = token
        one = Observer(ctx, leader, lambda: 0.0)
        one._clock_s = ctx.clock_s
        one._had_epoch = True
        sightings, removals = one._sightings, one._removals
        parts: dict[str, tuple[Callable[..., object], tuple[object, ...]]] = {
            "epoch": (one._ensure_epoch, ()),
            "poll": (sightings.poll, ()),
            "due": (reconcile.enqueue_due, (ctx,)),
            "removals": (removals.fulfil, ()),
            "sweep": (reconcile.sweep, (ctx, sightings)),
        }
        tape.memory = lambda: repr(
            (token, one._wiped_at_s, sightings._running, sightings._told_ends, sightings._ends, removals._tries)
        )
        while True:
            part, arguments = parts[tape.ask("orders", "next")]
            one._try(part, *arguments)

    return live
