"""What the observer takes from a stream at a time: all of a moment, and never more than it asked for."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pman_core.backend import Handle, Observed, WatchEvent
from pman_core.states import State
from pman_worker import watcher
from pman_worker.watcher import GATHER_S, Watcher


def observed(number: int) -> Observed:
    return Observed(f"job-{number}", "01h", "digest", State.RUNNING, Handle(1))


class Stream:
    """A backend whose whole stream is there at once."""

    name = "stream"

    def __init__(self, count: int) -> None:
        self._count = count

    def watch(self, *_: Any) -> Iterator[WatchEvent]:
        for number in range(self._count):
            yield WatchEvent(str(number), observed(number))


def read(count: int) -> Watcher:
    """Return a watcher that has read all ``count`` events."""
    made = Watcher(Stream(count), "")  # type: ignore[arg-type]
    made._read()
    return made


def test_what_happens_in_a_moment_is_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    one = read(1)

    def others_come(pause_s: float) -> None:
        assert pause_s == GATHER_S
        one._events.put(observed(1))

    monkeypatch.setattr(watcher, "time", SimpleNamespace(sleep=others_come))
    assert [event.jid for event in one.take(10, wait_s=1.0)] == ["job-0", "job-1"]


def test_who_does_not_wait_does_not_wait_for_others_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "time", None)
    assert len(read(3).take(10, wait_s=0.0)) == 3


def test_no_more_than_was_asked_for() -> None:
    many = read(5)
    assert [len(many.take(2, 0.0)) for _ in range(4)] == [2, 2, 1, 0]
