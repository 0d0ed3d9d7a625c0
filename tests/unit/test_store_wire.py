"""Between a record and its hash: nothing is lost, nothing grows without bound, nothing is no UTF-8."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pman_core.job import JobRecord
from pman_core.states import SOURCES, State
from pman_core.store.protocol import LOG_BYTES_MAX, MESSAGE_CHARS_MAX, Change
from pman_core.store.wire import (
    LIST_FIELDS,
    READ_FIELDS,
    SOURCES_TEXT,
    WORK_FIELDS,
    change_fields,
    clip_logs,
    clip_message,
    only,
    to_record,
)

HASH = {
    "generation": "01h", "digest": "d", "backend": "mock", "state": "FAILED", "image": "i", "cmd": "c",
    "created_at": "1", "request": "{}", "message": "why", "reason": "R", "exit_code": "0", "native_state": "dead",
    "handle": "{1}", "handle_at": "2", "host": "node-1", "started_at": "3", "finished_at": "4", "attempts": "5",
    "retries": "6", "enqueues": "7", "next_attempt_at": "8", "lease_until": "9", "absent": "11", "logs": "out",
    "logs_at": "10",
    "logs_missing": "1", "image_at": "12",
}  # fmt: skip
FULL = JobRecord(
    jid="j", generation="01h", digest="d", backend="mock", state=State.FAILED, image="i", cmd="c", created_at_ms=1,
    request_json="{}", message="why", reason="R", exit_code=0, native_state="dead", handle_json="{1}", handle_at_ms=2,
    host="node-1", started_at_ms=3, finished_at_ms=4, attempts=5, retries=6, enqueues=7, next_attempt_at_ms=8,
    lease_until_ms=9, absent=11, logs="out", logs_at_ms=10, logs_missing=True,
    image_at_ms=12,
)  # fmt: skip


def pairs_of(change: Change, *, is_terminal: bool = False) -> dict[str, str | int]:
    items = change_fields(change, is_terminal)
    return dict(zip(items[::2], items[1::2], strict=True))  # type: ignore[arg-type]


def test_every_field_of_a_hash_is_a_field_of_the_record() -> None:
    assert to_record("j", HASH) == FULL
    for field in fields(JobRecord):
        assert getattr(FULL, field.name) != field.default, f"{field.name} is not told apart from its default"


def test_what_is_not_in_the_hash_has_its_default() -> None:
    required = ("generation", "digest", "backend", "state", "image", "cmd")
    record = to_record("j", {name: HASH[name] for name in required})
    assert record.exit_code is None
    assert record == JobRecord("j", "01h", "d", "mock", State.FAILED, "i", "c", 0)


@pytest.mark.parametrize("names", [LIST_FIELDS, READ_FIELDS, WORK_FIELDS])
def test_a_partial_view_is_the_same_from_a_hash_and_from_a_record(names: tuple[str, ...]) -> None:
    assert only(FULL, names) == to_record("j", {name: HASH[name] for name in names})


def test_the_sources_are_told_as_whole_words() -> None:
    for state, sources in SOURCES.items():
        for other in State:
            assert (f" {other} " in SOURCES_TEXT[state]) is (other in sources)


def test_a_change_that_says_nothing_writes_nothing() -> None:
    assert pairs_of(Change("j", "g", State.RUNNING, token="t", delay_s=3, uncounted=True)) == {}
    assert pairs_of(Change("j", "g", State.RUNNING, logs_missing=True)) == {}


def test_a_change_writes_what_it_says_even_if_that_is_nothing() -> None:
    change = Change("j", "g", State.SUCCEEDED, message="", logs="", exit_code=0, logs_missing=True)
    assert pairs_of(change, is_terminal=True) == {"message": "", "logs": "", "exit_code": 0, "logs_missing": "1"}


def test_a_change_names_its_fields_as_the_hash_does() -> None:
    change = Change(
        "j", "g", State.FAILED, host="h", message="m", reason="R", native_state="n", handle_json="{}", exit_code=1,
        started_at_ms=1, finished_at_ms=2, logs="l", logs_missing=True, image_missing=True,
    )  # fmt: skip
    assert pairs_of(change, is_terminal=True).keys() <= HASH.keys()


@given(st.text(st.characters(), max_size=40), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_clipped_logs_are_the_end_and_valid(text: str, more: int) -> None:
    logs = "x" * (LOG_BYTES_MAX - len(text) - more) + text
    clipped = clip_logs(logs)
    readable = logs.encode(errors="replace").decode()
    assert readable.endswith(clipped)
    assert len(clipped.encode()) <= LOG_BYTES_MAX
    assert len(clipped.encode()) > LOG_BYTES_MAX - 4 or clipped == readable


@given(st.text(st.characters(), max_size=MESSAGE_CHARS_MAX + 5))
@settings(deadline=None, max_examples=30)
def test_a_clipped_message_is_the_beginning_and_valid(text: str) -> None:
    clipped = clip_message(text)
    assert text.encode(errors="replace").decode().startswith(clipped)
    assert len(clipped) == min(len(text), MESSAGE_CHARS_MAX)
