"""What ``state.json`` means, and how the end of a log becomes text."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from backends._process_state import JobState, observed_from, state_from
from pman_core.states import Reason, State

CLAIMED = JobState("j", "g", "unit", digest="d", host="h", boot_id="b", pid=7, start_ticks=1)
STARTED = replace(CLAIMED, child_pid=8, started_at=1000.0)
ENDED = replace(STARTED, finished_at=1001.5, cause="exited", exit_code=0)


@pytest.mark.parametrize(
    ("job", "state", "reason", "message"),
    [
        (CLAIMED, State.PENDING, None, ""),
        (STARTED, State.RUNNING, None, ""),
        (ENDED, State.SUCCEEDED, None, ""),
        (replace(ENDED, exit_code=3), State.FAILED, Reason.NONZERO_EXIT, "exit code 3"),
        (replace(ENDED, exit_code=137), State.FAILED, Reason.NONZERO_EXIT, "exit code 137"),
        (replace(ENDED, exit_code=139, signal=11), State.FAILED, Reason.SIGNALLED, "killed by signal 11 (SIGSEGV)"),
        (replace(ENDED, exit_code=168, signal=40), State.FAILED, Reason.SIGNALLED, "killed by signal 40 (real-time)"),
        (replace(ENDED, cause="time_limit", exit_code=137, signal=9), State.FAILED, Reason.TIME_LIMIT, "time limit"),
        (
            replace(ENDED, cause="time_limit", exit_code=137, signal=9, time_limit_s=420.0),
            State.FAILED,
            Reason.TIME_LIMIT,
            "ended at its time limit of 7 min",
        ),
        (replace(ENDED, cause="cancelled", exit_code=137, signal=9), State.CANCELLED, Reason.CANCELLED, "on request"),
        (
            replace(ENDED, cause="start_failed", error="no such thing"),
            State.FAILED,
            Reason.START_FAILED,
            "no such thing",
        ),
        (replace(ENDED, cause="supervisor_failed", error="bug"), State.FAILED, Reason.NODE_FAIL, "failed: bug"),
        (replace(ENDED, cause="supervisor_killed"), State.FAILED, Reason.NODE_FAIL, "process 7 on h"),
        (replace(ENDED, cause="host_rebooted"), State.FAILED, Reason.NODE_FAIL, "host h was restarted"),
        (replace(CLAIMED, finished_at=1.0, cause="host_rebooted"), State.FAILED, Reason.NODE_FAIL, "is not known"),
    ],
)
def test_the_table_of_ends(job: JobState, state: State, reason: Reason | None, message: str) -> None:
    found = state_from(job)
    assert found[:2] == (state, reason)
    assert message in found[2]
    assert bool(found[2]) == (state not in {State.PENDING, State.RUNNING, State.SUCCEEDED})


def test_what_the_worker_is_told() -> None:
    observed = observed_from(ENDED)
    assert (observed.jid, observed.generation, observed.digest) == ("j", "g", "d")
    assert observed.started_at == datetime(1970, 1, 1, 0, 16, 40, tzinfo=UTC)
    assert observed.finished_at == datetime(1970, 1, 1, 0, 16, 41, 500000, tzinfo=UTC)
    assert (observed.handle.version, observed.handle.host) == (1, "h")
    assert observed.handle.data == {"boot_id": "b", "pid": 7}
    assert [observed_from(job).native_state for job in (CLAIMED, STARTED, ENDED)] == ["claimed", "started", "exited"]


def test_the_file_is_read_back() -> None:
    assert JobState.from_json(json.dumps(asdict(ENDED))) == ENDED


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", '{"jid": "j"}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_damaged_file_is_not_guessed_at(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        JobState.from_json(text)


def test_a_newer_file_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="version 2"):
        JobState.from_json(json.dumps(asdict(ENDED) | {"v": 2, "added": 1}))


def test_what_releases_add_keeps_neither_from_reading_the_other() -> None:
    """A worker is upgraded while the observer of its host is not, or back again; the jobs go on."""
    older = {name: value for name, value in asdict(ENDED).items() if name != "time_limit_s"}
    assert JobState.from_json(json.dumps(older)) == ENDED
    assert JobState.from_json(json.dumps(asdict(ENDED) | {"added": 1})) == ENDED
