"""Jobs as slurmrestd tells of them, in every version of its interface. Pure; tested on replies of real ones.

From v0.0.39 on a number is ``{"set", "infinite", "number"}``, from v0.0.40 on states are lists and exit codes objects.
https://slurm.schedmd.com/rest_api.html#v0.0.43_job_info, #v0.0.43_job
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backends._slurm.state import Stage, chief_state, meaning_of
from backends._slurm.transport import NativeJob

NO_MINUTES = 2**32 - 2
"""From here on the numbers of the older versions mean "not set" and "without end"."""


def job_from(data: Mapping[str, Any]) -> NativeJob:
    """Read a job of ``/slurm/.../jobs``.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    return _job(
        data,
        _state(data["job_state"]),
        _ending(data.get("exit_code")),
        (data.get("submit_time"), data.get("start_time"), data.get("end_time")),
        data.get("time_limit"),
        comment=data["comment"] or "",
        user=data.get("user_name") or "",
        reason=_reason(data.get("state_reason")),
    )


def accounted_from(data: Mapping[str, Any]) -> NativeJob:
    """Read a job of ``/slurmdb/.../jobs``.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    state = _state(data["state"]["current"])
    times = data["time"]
    exit_status, signal = _ending(data.get("exit_code"))
    if state != "COMPLETED" and not exit_status and not signal:
        exit_status = None  # before v0.0.40 every exit code but a signal is told as SUCCESS, 0
    return _job(
        data,
        state,
        (exit_status, signal),
        (times.get("submission"), times.get("start"), times.get("end")),
        times.get("limit"),
        comment=(data.get("comment") or {}).get("job") or "",
        user=data.get("user") or "",
        reason=_reason(data["state"].get("reason")),
    )


def job_id_from(data: Mapping[str, Any]) -> int:
    """Read the id from the reply to ``job/submit``.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    result = data.get("result") or data
    if not result["job_id"]:
        raise ValueError("the id is 0")
    return int(result["job_id"])


def unaccounted_from(data: Mapping[str, Any]) -> int:
    """Read from the reply to ``diag`` how many messages wait for slurmdbd; 0 where it tells nothing of them.

    Raises:
        KeyError, TypeError, ValueError: it has another shape.
    """
    return _integer(data["statistics"].get("dbd_agent_queue_size")) or 0


def _job(
    data: Mapping[str, Any],
    state: str,
    ending: tuple[int | None, int],
    times: tuple[Any, Any, Any],
    limit: Any,
    *,
    comment: str,
    user: str,
    reason: str,
) -> NativeJob:
    """Return a job from what both kinds of replies call alike, and what they do not.

    ``times`` are those of submission, start and end.
    """
    stage, (submitted, started, ended) = _stage(state), times
    minutes = _integer(limit)
    has_ended = stage is Stage.ENDED
    return NativeJob(
        job_id=int(data["job_id"]),
        state=state,
        name=data["name"] or "",
        comment=comment,
        user=user,
        reason=reason,
        exit_status=ending[0] if has_ended else None,
        signal=ending[1] if has_ended else 0,
        submitted_at=_time(submitted),
        started_at=None if stage is Stage.WAITS else _time(started),
        finished_at=_time(ended) if has_ended else None,
        nodes=data.get("nodes") or "",
        restarts=_integer(data.get("restart_cnt")) or 0,
        time_limit_minutes=minutes if minutes is not None and minutes < NO_MINUTES else None,
    )


def _state(word: str | list[str]) -> str:
    state = word if isinstance(word, str) else chief_state(word)
    if not state:
        raise ValueError("a job without a state")
    return state


def _stage(state: str) -> Stage | None:
    meaning = meaning_of(state)
    return None if meaning is None else meaning.stage


def _ending(code: Any) -> tuple[int | None, int]:
    """Return exit status and signal. ``code`` is a wait status, or an object of either kind."""
    if isinstance(code, Mapping) and "return_code" in code:
        signal = code.get("signal") or {}
        number = _integer(signal.get("id", signal.get("signal_id"))) or 0
        return (None if number else _integer(code["return_code"])), number
    status = _integer(code)
    if status is None:
        return None, 0
    return status >> 8 & 0xFF, status & 0x7F


def _integer(value: Any) -> int | None:
    """Read a number of either kind; ``None`` if it is not set, or has no end."""
    if isinstance(value, Mapping):
        return int(value["number"]) if value["set"] and not value.get("infinite") else None
    return None if value is None else int(value)


def _time(value: Any) -> datetime | None:
    seconds = _integer(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _reason(word: str | None) -> str:
    return "" if word in (None, "None") else str(word)
