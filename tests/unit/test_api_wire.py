"""A record on the wire: the frozen keys, times in UTC, and nothing a client must not see."""

import json
from dataclasses import replace

import pytest

from pman_api.wire import iso_time, to_warnings, to_wire
from pman_core.job import JobRecord
from pman_core.states import TERMINAL, State

RECORD = JobRecord(
    jid="j", generation="g", digest="d", backend="process", state=State.QUEUED, image="i", cmd="c",
    created_at_ms=1_750_000_000_123, request_json="REQUEST", handle_json="HANDLE", host="HOST",
)  # fmt: skip


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.QUEUED, "notstarted"),
        (State.SUBMITTING, "notstarted"),
        (State.PENDING, "notstarted"),
        (State.RUNNING, "started"),
        (State.SUCCEEDED, "finishedSuccessfully"),
        (State.FAILED, "finishedWithError"),
        (State.CANCELLED, "finishedWithError"),
        (State.LOST, "undefined"),
    ],
)
def test_the_status_is_spelled_as_clients_expect(state: State, status: str) -> None:
    assert to_wire(replace(RECORD, state=state))["status"] == status


@pytest.mark.parametrize("state", State)
def test_the_timestamp_is_the_time_of_the_end_in_all_four_terminal_states_only(state: State) -> None:
    shown = to_wire(replace(RECORD, state=state, finished_at_ms=1_750_000_001_000))
    assert shown["timestamp"] == ("2025-06-15T15:06:41.000+00:00" if state in TERMINAL else "")
    assert shown["finished_at"] == (shown["timestamp"] or None)


def test_what_is_for_workers_is_not_shown() -> None:
    text = json.dumps(to_wire(RECORD))
    assert not [secret for secret in ("REQUEST", "HANDLE", "HOST") if secret in text]


def test_the_frozen_keys_come_first() -> None:
    assert list(to_wire(RECORD))[:7] == ["jid", "image", "cmd", "status", "message", "timestamp", "logs"]


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [(0, None), (1, "1970-01-01T00:00:00.001+00:00"), (1_750_000_000_123, "2025-06-15T15:06:40.123+00:00")],
)
def test_times_are_utc_with_milliseconds(at_ms: int, text: str | None) -> None:
    assert iso_time(at_ms) == text


def test_warnings_are_few_and_short() -> None:
    assert to_warnings([]) == []
    assert to_warnings(["x"]) == ["x: unknown key, ignored"]
    assert len(to_warnings(["x"] * 20)) == 20
    assert to_warnings(["x" * 1000] * 21)[19:] == [
        "x" * 99 + "…: unknown key, ignored",
        "and 1 more unknown keys, ignored",
    ]
