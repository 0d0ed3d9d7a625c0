"""A store that hangs must cost one request at a time, not every thread; once it answers, everybody is let in."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pman_api import guarded_store
from pman_api.guarded_store import GuardedStore
from pman_core.errors import StoreUnavailable
from pman_core.store.memory import MemoryStore


class HangingStore(MemoryStore):
    """``read`` reports that it was entered and answers when it is told how."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.answer = threading.Event()
        self.is_away = True

    def read(self, jid: str) -> None:
        self.entered.release()
        assert self.answer.wait(10)
        if self.is_away:
            raise StoreUnavailable("timeout")


def outcome(question: Callable[[], object]) -> str:
    try:
        question()
    except StoreUnavailable as error:
        return str(error)
    return "answered"


def found_away(monotonic: Callable[[], float] = lambda: 0.0) -> tuple[HangingStore, GuardedStore]:
    store = HangingStore()
    store.answer.set()
    guarded = GuardedStore(store, monotonic)
    assert outcome(lambda: guarded.read("a")) == "timeout"
    store.entered.acquire()
    store.answer.clear()
    return store, guarded


def test_while_one_request_asks_all_others_hear_at_once_that_it_is_away() -> None:
    store, guarded = found_away()
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(outcome, lambda: guarded.read("a"))
        assert store.entered.acquire(timeout=10)
        assert [outcome(lambda: guarded.read("b")) for _ in range(100)] == [outcome(guarded.ping)] * 100
        assert "another request" in outcome(lambda: guarded.read("b"))
        store.answer.set()
        assert trial.result() == "timeout"
    assert not store.entered.acquire(blocking=False), "the others must not have reached the store"


def test_the_first_answer_lets_everybody_in_again() -> None:
    store, guarded = found_away()
    store.is_away = False
    store.answer.set()
    assert outcome(lambda: guarded.read("a")) == "answered"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: outcome(lambda: guarded.read("b")), range(8))) == ["answered"] * 8


def test_what_was_found_out_long_ago_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_store, "PATIENCE_S", 10)
    now_s = [0.0]
    store, guarded = found_away(lambda: now_s[0])
    now_s[0] = 60.0  # since then nobody has asked
    with ThreadPoolExecutor(4) as pool:
        trial = pool.submit(outcome, lambda: guarded.read("a"))
        assert store.entered.acquire(timeout=10)
        others = [pool.submit(outcome, guarded.ping) for _ in range(3)]
        store.is_away = False
        store.answer.set()
        assert [trial.result(), *(other.result() for other in others)] == ["answered"] * 4


def test_the_log_tells_of_each_absence_once(caplog: pytest.LogCaptureFixture) -> None:
    store, guarded = found_away()
    store.answer.set()
    for _ in range(3):
        outcome(lambda: guarded.read("a"))
    store.is_away = False
    guarded.read("a")
    assert [record.getMessage() for record in caplog.records] == [
        "the store does not answer: timeout",
        "the store answers again",
    ]


def test_each_trial_that_fails_makes_room_for_the_next() -> None:
    store, guarded = found_away()
    store.answer.set()
    assert [outcome(lambda: guarded.read("a")) for _ in range(3)] == ["timeout"] * 3


def test_a_store_that_answers_is_asked_by_all_at_once() -> None:
    store = HangingStore()
    store.is_away = False
    guarded = GuardedStore(store)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(outcome, lambda: guarded.read("a")) for _ in range(4)]
        assert all(store.entered.acquire(timeout=10) for _ in range(4))
        store.answer.set()
        assert [one.result() for one in asked] == ["answered"] * 4


def test_a_defect_does_not_lock_the_door() -> None:
    store, guarded = found_away()
    store.answer.set()
    with pytest.raises(TypeError):
        guarded.report()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        guarded._ask(len, 5)  # type: ignore[arg-type]
    store.is_away = False
    assert outcome(lambda: guarded.read("a")) == "answered"
