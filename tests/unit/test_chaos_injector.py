"""Faults happen as planned, those that begin are ended, and after ``stop`` nobody touches the stage any more."""

import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from testbed.system import wait_for
from tests.faults.injector import Injector
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.plan import Planned


class Noted(Fault):
    name = "noted"
    targets = ("one", "two")

    def __init__(self, begin: Callable[[], None] = lambda: None) -> None:
        self.words: list[str] = []
        self._begin = begin

    def begin(self, stage: Any, target: str, rng: Random) -> frozenset[str]:
        self.words.append(f"{target} begins")
        self._begin()
        return NOBODY

    def end(self, stage: Any, target: str) -> None:
        self.words.append(f"{target} ends")


def injector(fault: Fault, *plan: Planned) -> Injector:
    made = Injector(None, {"noted": fault}, plan, "seed")  # type: ignore[arg-type]
    made.start()
    return made


def test_what_is_planned_happens() -> None:
    fault = Noted()
    made = injector(fault, Planned(0.0, "noted", "one", 0.01), Planned(0.01, "noted", "two", 0.01))
    wait_for("all is over", lambda: made.is_done)
    assert sorted(fault.words) == ["one begins", "one ends", "two begins", "two ends"]
    assert {(injected.kind, injected.target) for injected in made.injected} == {("noted", "one"), ("noted", "two")}
    assert made.failures == []


def test_what_is_under_way_is_ended_by_stop_and_what_is_ahead_never_begins() -> None:
    fault = Noted()
    made = injector(
        fault,
        Planned(0.0, "noted", "one", 300.0),
        Planned(1.0, "noted", "one", 0.0),  # not before the first one, even if its thread is slow to start
        Planned(300.0, "noted", "two", 0.0),
    )
    wait_for("the first one is under way", lambda: fault.words)
    made.stop()
    assert made.is_done
    assert fault.words == ["one begins", "one ends"]
    assert made.under_way == {}


@pytest.mark.parametrize("error", [RuntimeError, TimeoutError])
def test_what_has_begun_by_half_is_ended_and_told(error: type[Exception]) -> None:
    def fail() -> None:
        raise error("no")

    fault = Noted(fail)
    made = injector(fault, Planned(0.0, "noted", "one", 0.0))
    wait_for("it is over", lambda: made.is_done)
    assert fault.words == ["one begins", "one ends"]
    assert [error.__name__ in failure for failure in made.failures] == [True]


def test_stop_waits_for_a_fault_that_takes_its_time() -> None:
    goes_on = threading.Event()
    fault = Noted(lambda: goes_on.wait(30) and None)
    made = injector(fault, Planned(0.0, "noted", "one", 0.0))
    wait_for("it has begun", lambda: fault.words)
    threading.Timer(0.1, goes_on.set).start()
    made.stop()
    assert fault.words == ["one begins", "one ends"]
