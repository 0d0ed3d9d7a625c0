"""A job as a client sees it: what it submits and what it reads back. Plain frozen data, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

FINISHED = frozenset({"finishedSuccessfully", "finishedWithError", "undefined"})
"""The values of ``status`` after which nothing changes any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmission:
    """What a job shall do. ``input_dir`` and ``output_dir`` are relative to pman's store base."""

    jid: str
    image: str
    entrypoint: Sequence[str]
    args: Sequence[str] = ()
    input_dir: str
    output_dir: str
    type: Literal["ds", "fs", "ts"] = "ds"
    """``ds`` gets ``/share/incoming`` and ``/share/outgoing`` appended to its arguments, the others the latter only."""
    env: Sequence[str] = ()
    args_path_flags: Sequence[str] = ()
    auid: str = "pman-client"
    number_of_workers: int = 1
    cpu_millicores: int = 1000
    memory_mib: int = 512
    gpus: int = 0
    time_limit_minutes: int | None = None
    """``None``: the site's default."""

    def to_wire(self) -> dict[str, object]:
        """Return the body of the POST."""
        asked = {} if self.time_limit_minutes is None else {"time_limit": self.time_limit_minutes}
        return asked | {
            "jid": self.jid,
            "image": self.image,
            "entrypoint": list(self.entrypoint),
            "args": list(self.args),
            "args_path_flags": list(self.args_path_flags),
            "input_dir": self.input_dir,
            "output_dir": self.output_dir,
            "type": self.type,
            "env": list(self.env),
            "auid": self.auid,
            "number_of_workers": self.number_of_workers,
            "cpu_limit": self.cpu_millicores,
            "memory_limit": self.memory_mib,
            "gpu_limit": self.gpus,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as pman reported it. Only the fields of the old wire protocol are sure to be filled."""

    jid: str
    image: str
    cmd: str
    status: str
    message: str = ""
    logs: str = ""
    state: str = ""
    reason: str = ""
    exit_code: int | None = None
    native_state: str = ""
    generation: str = ""
    attempts: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    warnings: tuple[str, ...] = ()
    """What pman ignored in the submission; only in the answer to it."""

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def has_succeeded(self) -> bool:
        return self.status == "finishedSuccessfully"

    @property
    def label(self) -> str:
        """pman's own word for the state, or the wire's where an older pman gives no other."""
        return self.state or self.status

    @classmethod
    def from_wire(cls, record: Mapping[str, Any]) -> "Job":
        """Read a record; keys of a newer pman are left out.

        Raises:
            KeyError, TypeError, ValueError: this is no job record.
        """
        return cls(
            jid=record["jid"],
            image=record["image"],
            cmd=record["cmd"],
            status=record["status"],
            message=record["message"],
            logs=record.get("logs", ""),
            state=record.get("state", ""),
            reason=record.get("reason") or "",
            exit_code=record.get("exit_code"),
            native_state=record.get("native_state", ""),
            generation=record.get("generation", ""),
            attempts=record.get("attempts", 0),
            created_at=_time(record.get("created_at")),
            started_at=_time(record.get("started_at")),
            finished_at=_time(record.get("finished_at") or record.get("timestamp")),
            warnings=tuple(map(str, record.get("warnings") or ())),
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of the list of jobs, newest first; ``next_cursor`` is empty on the last one."""

    jobs: tuple[Job, ...]
    next_cursor: str = ""


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
