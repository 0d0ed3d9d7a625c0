"""What the launcher writes down on the node, what pman writes down of an end, and what that means. Pure."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from backends._exit_codes import describe_exit, reason_of
from pman_core.states import Reason, State

VERDICT_VERSION = 1

CAUSES: dict[str, tuple[State, Reason]] = {
    "image_pull": (State.FAILED, Reason.IMAGE_PULL),
    "start_failed": (State.FAILED, Reason.START_FAILED),
    "requeued": (State.FAILED, Reason.REQUEUED),
}
"""Every end that the launcher has for a job, but ``exited``, which the exit code decides."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose run it is: ``claim/facts``."""

    native_id: str
    host: str
    at: datetime | None
    restarts: int = 0
    """How often the scheduler had requeued the native job before."""

    @classmethod
    def from_facts(cls, data: bytes) -> "Claim":
        facts = read_facts(data)
        restarts = facts.get("restarts", "")
        return cls(
            native_id=facts.get("native_id", ""),
            host=facts.get("host", ""),
            at=_moment(facts.get("at", "")),
            restarts=int(restarts) if restarts.isascii() and restarts.isdigit() else 0,
        )


@dataclass(frozen=True, slots=True)
class End:
    """How the launcher saw the job end: ``end/facts``. Times are those of the node, whole seconds."""

    cause: str
    exit_code: int | None
    text: str
    native_id: str
    host: str
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def from_facts(cls, data: bytes) -> "End":
        facts = read_facts(data)
        code = facts.get("exit_code", "")
        return cls(
            cause=facts.get("cause", ""),
            exit_code=int(code) if code.isascii() and code.isdigit() else None,
            text=facts.get("text", "").strip(),
            native_id=facts.get("native_id", ""),
            host=facts.get("host", ""),
            started_at=_moment(facts.get("started_at", "")),
            finished_at=_moment(facts.get("finished_at", "")),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a job as it was told, and as it is told from then on: ``verdict/``."""

    state: State
    reason: Reason | None = None
    message: str = ""
    native_state: str = ""
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def to_json(self) -> str:
        return json.dumps(
            {
                "v": VERDICT_VERSION,
                "state": self.state,
                "reason": self.reason,
                "message": self.message,
                "native_state": self.native_state,
                "exit_code": self.exit_code,
                "started_at": None if self.started_at is None else self.started_at.isoformat(),
                "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Verdict":
        """Read the file.

        Raises:
            ValueError: it is damaged, or of a newer release.
        """
        try:
            data = json.loads(text)
            if data["v"] != VERDICT_VERSION:
                raise ValueError(f"version {data['v']} of a verdict is not known")
            return cls(
                state=State(data["state"]),
                reason=None if data["reason"] is None else Reason(data["reason"]),
                message=data["message"],
                native_state=data["native_state"],
                exit_code=data["exit_code"],
                started_at=_time(data["started_at"]),
                finished_at=_time(data["finished_at"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a verdict: {error!r}") from None


def state_of_exit(code: int) -> tuple[State, Reason | None, str]:
    """Return what the exit code of a job's command means: state, reason, message."""
    return (State.SUCCEEDED, None, "") if code == 0 else (State.FAILED, reason_of(code), describe_exit(code))


def verdict_of(end: End) -> Verdict | None:
    """Return what the launcher's words mean when nobody else has anything to say; ``None`` for unknown words."""
    if end.cause in CAUSES:
        state, reason = CAUSES[end.cause]
        message = end.text
    elif end.cause == "exited" and end.exit_code is not None:
        state, reason_or_none, message = state_of_exit(end.exit_code)
        return Verdict(state, reason_or_none, message, end.cause, end.exit_code, end.started_at, end.finished_at)
    else:
        return None
    # Without an exit code, or an image, nothing of the job has begun.
    started_at = None if end.exit_code is None else end.started_at
    return Verdict(state, reason, message, end.cause, end.exit_code, started_at, end.finished_at)


def read_facts(data: bytes) -> dict[str, str]:
    """Read ``NAME=VALUE`` items with NUL behind each; of a file that is cut, the whole ones."""
    items = data.decode(errors="replace").split("\0")[:-1]
    return dict(item.split("=", 1) for item in items if "=" in item)


def _moment(epoch_s: str) -> datetime | None:
    return datetime.fromtimestamp(int(epoch_s), UTC) if epoch_s.isascii() and epoch_s.isdigit() else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
