"""From what an engine says of a container to what pman says of the job. Pure.

The states and their fields:
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerInspect (State)

==========  =====================================  ==================================
native      what it is                             what pman says
==========  =====================================  ==================================
created     never started, by an interrupted       QUEUED: submit brings it on
            submit
created     start failed (Error is set; Podman     FAILED, START_FAILED; QUEUED if the error
            tells it only to whoever started it)   was one that passes
created     and LogPath is set: Docker was killed  QUEUED; who is to start it fails it,
            as it began                            see ``may_have_begun``
created     StartedAt is set: Podman forgets at a  FAILED, NODE_FAIL: it must not run again
            restart of the machine that it ran
running                                            RUNNING
paused      frozen by an administrator             RUNNING, and the message says it
restarting  never: no restart policy is asked for  RUNNING
stopping    Podman: told to end                    RUNNING
removing    going away, by hand                    as exited; Unknown if it has never
                                                   begun
exited      ended                                  by its exit code, see ``_end_of``
stopped     Podman: ended, not cleaned up yet      as exited
dead        ended, and could not be removed        as exited
dead,       StartedAt is not set: removed, or      FAILED, VANISHED: the exit code, 0 or 137,
exited      ended, before it had begun             is made up
==========  =====================================  ==================================

Exit codes of no process: Podman tells -1 of a container that has ended without its monitor, Docker 255 of one that its
containerd does not know any more, as when the machine was restarted. The first is no code of a job; the second may be,
so the message leaves it open. (``restore`` in https://github.com/moby/moby/blob/v20.10.24/daemon/daemon.go, and
``UpdateContainerStatus`` in https://github.com/containers/podman/blob/v4.3.1/libpod/oci_conmon_common.go)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backends._engine.errors import Doing, explain
from backends._engine.labels import identity_of
from backends._exit_codes import KILLED, describe_exit, reason_of
from backends._identity import Identity
from pman_core.backend import Handle, Observed, Sighting, Unknown
from pman_core.errors import Unavailable
from pman_core.states import Reason, State

Container = Mapping[str, Any]
"""One that was listed or inspected, as the engine answers."""

HANDLE_VERSION = 1
LOOK_AGAIN_S = 0.05
"""What an engine shows of a container may be a moment behind what it has told or done: so soon it is asked again."""
RUNNING = frozenset({"running", "paused", "restarting", "stopping"})
REMOVED = frozenset({"dead", "removing"})
ENDED = frozenset({"exited", "stopped"}) | REMOVED
NATIVE_ALIASES = {"stopped": "exited"}
"""What Podman calls ended and not cleaned up yet is told as it will be told for good."""
UNSEEN_CODE = 255


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of an end beside the container's own state."""

    ended_by_us: Reason | None = None
    """We killed it: CANCELLED or TIME_LIMIT."""
    message: str = ""
    """And what we had to say of it."""
    is_oom: bool = False
    """There is evidence for want of memory that the state does not show."""


def handle_of(container_id: str) -> Handle:
    return Handle(HANDLE_VERSION, {"id": container_id})


def is_killed(container: Container) -> bool:
    """Whether the state alone does not tell why it ended: killed, or nobody has seen how.

    What is said to have wanted memory may have been killed for another reason later: a child of it is enough.
    """
    state = container["State"]
    return state["Status"] in ENDED and _is_killed_by(state["ExitCode"])


def may_have_begun(container: Container) -> bool:
    """Whether a container that Docker shows as made, and not started, may have begun when Docker was killed.

    It has written nothing of it down by then; but when it is back it finds it at its containerd and opens its log. (So
    does whoever asks for the log of one that has not begun.) Docker answers this no sooner than a start is over that is
    under way.
    """
    return bool(container.get("LogPath")) and not container["State"]["Error"]


def observed_from(container: Container, verdict: Verdict = Verdict()) -> Sighting:
    """Return the sighting of an inspected container of ours."""
    labels = container["Config"]["Labels"]
    identity = identity_of(labels)
    if identity is None:
        raise ValueError("not a container of pman")
    state = container["State"]
    native, handle = NATIVE_ALIASES.get(state["Status"], state["Status"]), handle_of(container["Id"])
    started_at = moment(state["StartedAt"])
    if native == "created":
        return _observed_created(identity, container)
    if native in RUNNING:
        message = "" if native == "running" else native
        return _observed(identity, handle, State.RUNNING, native, message, started_at=started_at)
    if native in ENDED:
        return _observed_end(identity, container, verdict, native)
    return Unknown(f"the container is in the state {native!r}")


def _observed_created(identity: Identity, container: Container) -> Sighting:
    state, handle = container["State"], handle_of(container["Id"])
    if started_at := moment(state["StartedAt"]):
        message = "the machine was restarted under it"
        return _observed(
            identity, handle, State.FAILED, "created", message, reason=Reason.NODE_FAIL, started_at=started_at
        )
    if not state["Error"]:
        return _observed(identity, handle, State.QUEUED, "created", "made, and not started yet")
    meaning = explain(Doing.START, 500, state["Error"])
    if isinstance(meaning, Unavailable):
        return _observed(identity, handle, State.QUEUED, "created", f"made, and not started: {meaning}")
    return _observed(identity, handle, State.FAILED, "created", state["Error"], reason=Reason.START_FAILED)


def _observed_end(identity: Identity, container: Container, verdict: Verdict, native: str) -> Sighting:
    state, handle = container["State"], handle_of(container["Id"])
    started_at, finished_at = moment(state["StartedAt"]), moment(state["FinishedAt"])
    if started_at is None and native == "removing":
        return Unknown("the container is removed, and has not begun")
    if started_at is None and (native == "dead" or state["ExitCode"] == KILLED):
        message = "its container was ended or removed before it had begun, for all that the engine knows"
        return _observed(identity, handle, State.FAILED, native, message, reason=Reason.VANISHED)
    end, reason, message = _end_of(container, verdict)
    return _observed(
        identity,
        handle,
        end,
        native,
        message,
        reason=reason,
        exit_code=state["ExitCode"] if state["ExitCode"] >= 0 else None,
        started_at=started_at,
        # The engines take the two times from two clocks.
        finished_at=max(started_at, finished_at) if started_at and finished_at else finished_at,
    )


def observed_gone(labels: Mapping[str, str], container_id: str, exit_code: int, at: datetime) -> Observed | None:
    """Return the end of a container that was removed before it could be inspected, as its last event tells it."""
    identity = identity_of(labels)
    if identity is None:
        return None
    message = f"{describe_end(exit_code)}; its container was removed from the engine"
    state, reason = (State.SUCCEEDED, None) if exit_code == 0 else (State.FAILED, reason_of(exit_code))
    return _observed(
        identity, handle_of(container_id), state, "removed", message, reason=reason, exit_code=exit_code, finished_at=at
    )


def observed_running(identity: Identity, container_id: str, started_at: datetime) -> Observed:
    """Return a running job, as a listing or the event of its start tells it."""
    return _observed(identity, handle_of(container_id), State.RUNNING, "running", "", started_at=started_at)


def observed_success(identity: Identity, container_id: str, started_at: datetime, at: datetime) -> Observed:
    """Return the end that the event of exit code 0 tells: a success needs no second question."""
    return _observed(
        identity,
        handle_of(container_id),
        State.SUCCEEDED,
        "exited",
        "",
        exit_code=0,
        started_at=started_at,
        finished_at=max(started_at, at),
    )


def describe_end(code: int) -> str:
    """Return an exit code that Docker tells in words; see the text of the module."""
    doubt = ", or the engine has not seen its end, as when its machine was restarted" if code == UNSEEN_CODE else ""
    return f"{describe_exit(code)}{doubt}"


def moment(text: str) -> datetime | None:
    """Return a time of the engine (RFC 3339, nanoseconds); the zero time of Go means never."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


def _end_of(container: Container, verdict: Verdict) -> tuple[State, Reason | None, str]:
    state, code = container["State"], container["State"]["ExitCode"]
    if code == 0:
        return State.SUCCEEDED, None, ""
    if _is_killed_by(code) and verdict.ended_by_us is not None:
        is_cancelled = verdict.ended_by_us is Reason.CANCELLED
        return State.CANCELLED if is_cancelled else State.FAILED, verdict.ended_by_us, verdict.message
    limit_mib = container["HostConfig"]["Memory"] // 2**20
    if state["OOMKilled"] or verdict.is_oom:
        inferred = "" if state["OOMKilled"] else ", as far as this engine lets one tell"
        return State.FAILED, Reason.OOM_KILLED, f"out of memory, the limit was {limit_mib} MiB{inferred}"
    if code < 0:
        return State.FAILED, Reason.NODE_FAIL, "it has ended, and the engine has not seen how"
    more = f": {state['Error']}" if state["Error"] else ""
    if state["Status"] in REMOVED:  # Error is why it could not be
        more = "; its container was removed from the engine"
    return State.FAILED, reason_of(code), f"{describe_end(code)}{more}"


def _is_killed_by(code: int) -> bool:
    return code == KILLED or code < 0


def _observed(identity: Identity, handle: Handle, state: State, native: str, message: str, **more: Any) -> Observed:
    return Observed(
        identity.jid,
        identity.generation,
        identity.digest,
        state,
        handle,
        native_state=native,
        message=message,
        **more,
    )
