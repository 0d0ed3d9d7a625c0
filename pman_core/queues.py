"""Names of queues and tasks: the whole vocabulary between those who enqueue and those who work.

A message is a jid and a generation, nothing else. Queue names carry the value of CONTAINER_ENV, whatever engine a
backend finds behind it, so that workers of several backends can share one Redis.
"""

from enum import StrEnum
from typing import NamedTuple


class Task(StrEnum):
    """Celery task names."""

    SUBMIT = "pman.submit"
    DELETE = "pman.delete"
    REFRESH = "pman.refresh"
    PULL = "pman.pull"


class Purpose(StrEnum):
    SUBMIT = "submit"
    CONTROL = "control"  # deletes: never behind a thousand submits
    REFRESH = "refresh"  # live logs: the first to wait
    PULL = "pull"  # images: takes up to hours, so a worker of its own consumes it


PURPOSE = {
    Task.SUBMIT: Purpose.SUBMIT,
    Task.DELETE: Purpose.CONTROL,
    Task.REFRESH: Purpose.REFRESH,
    Task.PULL: Purpose.PULL,
}


class Message(NamedTuple):
    """The text of one message, as Celery's workers take it, and the queue it is for."""

    queue: str
    text: str


def queue_name(backend: str, purpose: Purpose, host: str = "") -> str:
    """Return the queue for ``purpose``; with ``host``, the one that only workers of that host consume."""
    name = f"pman.{backend}.{purpose}"
    return f"{name}.{host}" if host else name


def worker_queues(backend: str, host: str) -> list[str]:
    """Return every queue that the worker for everything consumes on ``host``, the most urgent first."""
    shared = [queue_name(backend, purpose) for purpose in (Purpose.CONTROL, Purpose.SUBMIT, Purpose.REFRESH)]
    own = [queue_name(backend, purpose, host) for purpose in (Purpose.CONTROL, Purpose.REFRESH)]
    return own + shared


def key_prefix(instance: str) -> str:
    """Return what every Redis key of this instance begins with, Celery's included."""
    return f"pman:{instance}:"
