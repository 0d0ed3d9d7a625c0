"""A state of the model, and what may happen to it: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pman_core.queues import Task
from tests.model.programs import Setup
from tests.model.scheduler import Scheduler
from tests.model.tape import DONE


@dataclass(frozen=True, slots=True)
class Scenario:
    """What may happen, and how often."""

    name: str
    clients: tuple[tuple[str, ...], ...]
    budget: Mapping[str, int]
    setup: Setup = field(default_factory=Setup.of)
    workers: int = 2
    observers: int = 1
    has_job: bool = False
    """It begins a minute after the first order was carried out and its job was submitted."""


class Ghost(NamedTuple):
    """What only the model remembers."""

    deleted: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    owed: str = ""
    """The generation that must have a record."""


class Worker(NamedTuple):
    position: int
    message: int
    token: int


class Client(NamedTuple):
    done: int
    position: int = DONE


class Point(NamedTuple):
    """One state of everything."""

    now_s: int
    store: int
    scheduler: Scheduler
    ghost: Ghost
    workers: tuple[Worker, ...]
    messages: tuple[int, ...]
    observers: tuple[int, ...]
    clients: tuple[Client, ...]
    budget: tuple[int, ...]

    def enqueue(self, message: int) -> "Point":
        return self._replace(messages=tuple(sorted((*self.messages, message))))

    def dequeue(self, message: int) -> "Point":
        at = self.messages.index(message)
        return self._replace(messages=(*self.messages[:at], *self.messages[at + 1 :]))

    def with_observer(self, at: int, position: int) -> "Point":
        return self._replace(observers=(*self.observers[:at], position, *self.observers[at + 1 :]))

    def with_client(self, at: int, one: Client) -> "Point":
        return self._replace(clients=(*self.clients[:at], one, *self.clients[at + 1 :]))


class Step(NamedTuple):
    """What led from one point to the next, for people."""

    who: str
    call: int = -1
    answer: int = -1
    what: str = ""


Message = tuple[Task, str]
Outcome = tuple[Point, int]
"""What is after a call, and what the caller hears."""
