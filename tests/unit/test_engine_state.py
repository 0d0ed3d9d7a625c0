"""What a container's state means, on inspections of real containers (``tests/recorded/record_engine.py``)."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backends._engine.state import Verdict, is_killed, may_have_begun, moment, observed_from, observed_gone
from backends._exit_codes import describe_exit
from pman_core.backend import Observed, Unknown
from pman_core.states import Reason, State

RECORDED = Path(__file__).parents[1] / "recorded"
DOCKER, PODMAN = (json.loads((RECORDED / engine / "states.json").read_text()) for engine in ("docker", "podman"))
CREATED = (State.QUEUED, None, None)
START_FAILED = (State.FAILED, Reason.START_FAILED, None)
MEANINGS: dict[str, tuple[State, Reason | None, int | None]] = {
    "created": CREATED,
    "running": (State.RUNNING, None, None),
    "paused": (State.RUNNING, None, None),
    "exit 0": (State.SUCCEEDED, None, 0),
    "exit 7": (State.FAILED, Reason.NONZERO_EXIT, 7),
    "signal 15": (State.FAILED, Reason.SIGNALLED, 143),
    "killed": (State.FAILED, Reason.SIGNALLED, 137),
    "out of memory": (State.FAILED, Reason.OOM_KILLED, 137),
    "out of memory, a child": (State.FAILED, Reason.OOM_KILLED, 3),
    "no such command": START_FAILED,
    "not executable": START_FAILED,
    "a folder": START_FAILED,
    "no such user": START_FAILED,
    "gpu": START_FAILED,
    "cdi gpu": START_FAILED,
}
# Podman tells of a failed start only to whoever started it, of GPUs nothing, and never of memory.
PODMAN_MEANINGS = MEANINGS | dict.fromkeys(["no such command", "not executable", "a folder", "no such user"], CREATED)
PODMAN_MEANINGS |= {
    "gpu": (State.SUCCEEDED, None, 0),
    "out of memory": (State.FAILED, Reason.SIGNALLED, 137),
    "out of memory, a child": (State.FAILED, Reason.NONZERO_EXIT, 3),
}


def seen(container: dict[str, Any], verdict: Verdict = Verdict()) -> Observed:  # noqa: B008 - it is frozen
    sighting = observed_from(container, verdict)
    assert isinstance(sighting, Observed)
    assert (sighting.jid, sighting.digest) == ("job", "d" * 64)
    assert sighting.handle.data == {"id": container["Id"]}
    return sighting


@pytest.mark.parametrize("name", sorted(DOCKER))
def test_every_recorded_state_of_docker_has_its_meaning(name: str) -> None:
    found = seen(DOCKER[name])
    assert (found.state, found.reason, found.exit_code) == MEANINGS[name]
    assert bool(found.message) == (name not in {"running", "exit 0"}), "a failure has its cause in the message"


@pytest.mark.parametrize("name", sorted(PODMAN))
def test_every_recorded_state_of_podman_has_its_meaning(name: str) -> None:
    found = seen(PODMAN[name])
    assert (found.state, found.reason, found.exit_code) == PODMAN_MEANINGS[name]


@pytest.mark.parametrize("states", [DOCKER, PODMAN], ids=["docker", "podman"])
def test_times_are_those_of_the_engine_and_in_order(states: dict[str, Any]) -> None:
    created, running, ended = seen(states["created"]), seen(states["running"]), seen(states["exit 7"])
    assert (created.started_at, created.finished_at) == (None, None)
    assert running.started_at is not None
    assert running.finished_at is None
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.started_at <= ended.finished_at


def test_an_end_before_its_start_is_an_end_at_its_start() -> None:
    hasty = copy.deepcopy(DOCKER["exit 0"])
    hasty["State"] |= {"StartedAt": "2026-01-01T00:00:00.002Z", "FinishedAt": "2026-01-01T00:00:00.001Z"}
    found = seen(hasty)
    assert found.started_at == found.finished_at == datetime(2026, 1, 1, microsecond=2000, tzinfo=UTC)


def test_only_a_killed_one_needs_another_question() -> None:
    assert {name for name, container in DOCKER.items() if is_killed(container)} == {"killed", "out of memory"}
    assert {name for name, container in PODMAN.items() if is_killed(container)} == {"killed", "out of memory"}


@pytest.mark.parametrize(("reason", "state"), [(Reason.CANCELLED, State.CANCELLED), (Reason.TIME_LIMIT, State.FAILED)])
def test_what_we_killed_tells_why(reason: Reason, state: State) -> None:
    found = seen(DOCKER["killed"], Verdict(reason, "the words of whoever killed it"))
    assert (found.state, found.reason, found.message) == (state, reason, "the words of whoever killed it")


def changed(name: str, states: dict[str, Any] = DOCKER, **state: Any) -> dict[str, Any]:
    """Return a recorded container with other fields of its state."""
    container: dict[str, Any] = copy.deepcopy(states[name])
    container["State"] |= state
    return container


def test_what_we_killed_tells_why_even_if_a_child_of_it_had_wanted_memory_before() -> None:
    container = changed("out of memory, a child", ExitCode=137)
    assert is_killed(container)
    assert seen(container).reason is Reason.OOM_KILLED
    found = seen(container, Verdict(Reason.TIME_LIMIT, "ended at its time limit of 1 min"))
    assert (found.reason, found.message) == (Reason.TIME_LIMIT, "ended at its time limit of 1 min")


@pytest.mark.parametrize(
    "container",
    [
        changed("created", Status="dead", Dead=True, Error="unable to remove filesystem for c82"),
        # `podman init`, then `podman stop`
        changed("created", PODMAN, Status="exited", ExitCode=137, FinishedAt="2026-11-26T06:50:04.560647313Z"),
    ],
    ids=["docker", "podman"],
)
def test_what_has_never_begun_has_no_exit_code_whatever_the_engine_tells(container: dict[str, Any]) -> None:
    found = seen(container)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.VANISHED, None)
    assert (found.started_at, found.finished_at) == (None, None)
    assert found.message == "its container was ended or removed before it had begun, for all that the engine knows"
    removing = changed("created", Status="removing")
    assert observed_from(removing) == Unknown("the container is removed, and has not begun")


@pytest.mark.parametrize(("code", "state"), [(0, State.SUCCEEDED), (3, State.FAILED)])
def test_an_exit_code_of_its_own_is_that_of_a_program_even_if_the_engine_has_missed_its_begin(
    code: int, state: State
) -> None:
    """So it is told if Podman's service was killed as it began."""
    found = seen(changed("created", PODMAN, Status="exited", ExitCode=code, FinishedAt="2026-11-26T06:50:04.5Z"))
    assert (found.state, found.exit_code, found.started_at) == (state, code, None)
    assert found.finished_at is not None


def test_what_may_have_begun_when_its_engine_was_killed_is_not_started_again() -> None:
    """Docker shows it as made and not started; that it had opened its log is all that is left of its start."""
    container = copy.deepcopy(DOCKER["created"])
    assert not may_have_begun(container)
    container["LogPath"] = "/var/lib/docker/containers/b64/b64-json.log"
    assert may_have_begun(container)
    container["State"]["Error"] = "failed to create task: context deadline exceeded: unknown"
    assert not may_have_begun(container), "the engine itself says that its start has failed"


@pytest.mark.parametrize("status", ["dead", "removing"])
def test_what_is_removed_by_hand_has_its_own_end(status: str) -> None:
    found = seen(changed("exit 7", Status=status, Error="unable to remove filesystem for c82"))
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 7)
    assert found.message == "exit code 7; its container was removed from the engine"
    assert seen(changed("exit 0", Status=status)).state is State.SUCCEEDED


def test_an_exit_code_that_an_engine_makes_up_is_not_told_as_that_of_the_job() -> None:
    """Podman tells -1 if the monitor of a container was killed, Docker 255 if its containerd has forgotten it."""
    unseen = changed("exit 7", PODMAN, Status="stopped", ExitCode=-1)
    found = seen(unseen)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert found.message == "it has ended, and the engine has not seen how"
    assert is_killed(unseen)
    assert seen(unseen, Verdict(Reason.CANCELLED, "ended on request")).state is State.CANCELLED
    found = seen(changed("exit 7", ExitCode=255))
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 255)
    assert found.message == "exit code 255, or the engine has not seen its end, as when its machine was restarted"


def test_what_ended_by_itself_before_our_kill_keeps_its_end() -> None:
    found = seen(DOCKER["exit 7"], Verdict(Reason.CANCELLED, "ended on request"))
    assert (found.state, found.reason) == (State.FAILED, Reason.NONZERO_EXIT)


def test_memory_is_told_by_evidence_where_the_state_is_silent() -> None:
    found = seen(PODMAN["out of memory"], Verdict(is_oom=True))
    assert (found.reason, found.message) == (
        Reason.OOM_KILLED,
        "out of memory, the limit was 64 MiB, as far as this engine lets one tell",
    )


@pytest.mark.parametrize(
    ("status", "native", "state"),
    [
        ("stopped", "exited", State.FAILED),
        ("dead", "dead", State.FAILED),
        ("stopping", "stopping", State.RUNNING),
        ("restarting", "restarting", State.RUNNING),
    ],
)
def test_other_native_states(status: str, native: str, state: State) -> None:
    container = copy.deepcopy(DOCKER["exit 7"])
    container["State"]["Status"] = status
    found = seen(container)
    assert (found.native_state, found.state) == (native, state)


def test_a_container_that_ran_before_its_machine_was_restarted_never_runs_again() -> None:
    """Podman shows it as created, and only its start tells that it was more than that."""
    rebooted = copy.deepcopy(PODMAN["created"])
    rebooted["State"]["StartedAt"] = "2026-01-01T00:00:00Z"
    found = seen(rebooted)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)


@pytest.mark.parametrize("error", ["no space left on device", "context deadline exceeded: unknown"])
def test_a_start_that_failed_for_a_passing_reason_is_tried_again(error: str) -> None:
    container = copy.deepcopy(DOCKER["no such command"])
    container["State"]["Error"] = f"failed to create task: {error}"
    found = seen(container)
    assert found.state is State.QUEUED
    assert error in found.message


def test_what_is_not_known_is_unknown() -> None:
    container = changed("exit 7", Status="of a newer release")
    assert observed_from(container) == Unknown("the container is in the state 'of a newer release'")


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [(0, State.SUCCEEDED, None), (137, State.FAILED, Reason.SIGNALLED), (2, State.FAILED, Reason.NONZERO_EXIT)],
)
def test_a_container_removed_by_hand_ends_as_its_last_event_told(code: int, state: State, reason: Reason) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    found = observed_gone(DOCKER["killed"]["Config"]["Labels"], "abc", code, at)
    assert found is not None
    assert (found.state, found.reason, found.exit_code, found.finished_at) == (state, reason, code, at)
    assert "removed from the engine" in found.message
    assert observed_gone({}, "abc", code, at) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exit code 1"), (137, "ended by signal 9 (SIGKILL)"), (255, "exit code 255"), (128, "exit code 128")],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


def test_times_of_the_engine() -> None:
    assert moment("0001-01-01T00:00:00Z") is None
    assert moment("2026-11-25T00:53:40.710268343Z") == datetime(2026, 11, 25, 0, 53, 40, 710268, tzinfo=UTC)
    assert moment("2026-11-25T01:53:40.5+01:00") == datetime(2026, 11, 25, 0, 53, 40, 500000, tzinfo=UTC)
