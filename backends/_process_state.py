"""What ``state.json`` says of a job of the process backend, and what that means. Pure."""

import json
import signal
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from backends._time_limit import describe_time_limit
from pman_core.backend import Handle, Observed
from pman_core.states import Reason, State

VERSION = 1
HANDLE_VERSION = 1

CAUSES: dict[str, tuple[State, Reason]] = {
    "time_limit": (State.FAILED, Reason.TIME_LIMIT),
    "cancelled": (State.CANCELLED, Reason.CANCELLED),
    "start_failed": (State.FAILED, Reason.START_FAILED),
    "supervisor_failed": (State.FAILED, Reason.NODE_FAIL),
    "supervisor_killed": (State.FAILED, Reason.NODE_FAIL),
    "host_rebooted": (State.FAILED, Reason.NODE_FAIL),
}
"""Every end that the supervisor, or who finds it dead, writes down; but "exited", which the exit code decides."""
MESSAGES = {
    "time_limit": "{time_limit}",
    "cancelled": "killed on request",
    "start_failed": "{error}",
    "supervisor_failed": "killed, because its supervisor failed: {error}",
    "supervisor_killed": "its supervisor (process {pid} on {host}) was killed, and with it what was found of the job",
    "host_rebooted": "the host {host} was restarted while the job ran",
}
IN_DOUBT = "; whether it had begun is not known, and it is not run again"


@dataclass(frozen=True, slots=True)
class JobState:
    """``state.json``. Times are seconds since the epoch."""

    # The claim: whose folder it is, and which process speaks for it
    jid: str
    generation: str
    instance: str
    digest: str = ""
    host: str = ""
    boot_id: str = ""
    pid: int = 0
    start_ticks: int = 0
    # The start
    child_pid: int | None = None
    started_at: float | None = None
    # The end
    finished_at: float | None = None
    cause: str = ""
    exit_code: int | None = None
    signal: int = 0
    error: str = ""
    time_limit_s: float | None = None
    # The tombstone
    removed_at: float | None = None
    v: int = VERSION

    @classmethod
    def from_json(cls, text: str | bytes) -> "JobState":
        """Read the file. What a newer release has added to this version is left out.

        Raises:
            ValueError: it is not of a known version.
        """
        data = json.loads(text)
        names = {one.name for one in fields(cls)}
        try:
            state = cls(**{name: value for name, value in data.items() if name in names})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a job's state: {error}") from None
        if state.v != VERSION:
            raise ValueError(f"version {state.v} of a job's state is not known")
        return state


def state_from(job: JobState) -> tuple[State, Reason | None, str]:
    """Return state, reason and message of a job. Pure."""
    if job.finished_at is None:
        return (State.PENDING if job.started_at is None else State.RUNNING), None, ""
    if job.cause in CAUSES:
        message = MESSAGES[job.cause].format(
            error=job.error, pid=job.pid, host=job.host, time_limit=describe_time_limit(job.time_limit_s)
        )
        is_in_doubt = job.started_at is None and job.cause in {"supervisor_killed", "host_rebooted"}
        return *CAUSES[job.cause], message + (IN_DOUBT if is_in_doubt else "")
    if job.signal:
        return State.FAILED, Reason.SIGNALLED, f"killed by signal {job.signal} ({_signal_name(job.signal)})"
    if job.exit_code:
        return State.FAILED, Reason.NONZERO_EXIT, f"exit code {job.exit_code}"
    return State.SUCCEEDED, None, ""


def observed_from(job: JobState) -> Observed:
    """Return a job as the worker is told of it. Pure."""
    state, reason, message = state_from(job)
    return Observed(
        jid=job.jid,
        generation=job.generation,
        digest=job.digest,
        state=state,
        handle=handle_of(job),
        native_state=job.cause or ("claimed" if job.started_at is None else "started"),
        message=message,
        reason=reason,
        exit_code=job.exit_code,
        started_at=_moment(job.started_at),
        finished_at=_moment(job.finished_at),
    )


def handle_of(job: JobState) -> Handle:
    return Handle(HANDLE_VERSION, {"boot_id": job.boot_id, "pid": job.pid}, host=job.host)


def _moment(epoch_s: float | None) -> datetime | None:
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return "real-time"
