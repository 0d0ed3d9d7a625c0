"""What squeue, sacct and sdiag print, and how they are told to print it. Pure.

Names and comments hold anything, so fields end in the ASCII unit separator and records in the record separator.
https://slurm.schedmd.com/sdiag.html https://slurm.schedmd.com/squeue.html#OPT_Format https://slurm.schedmd.com/sacct.html#SECTION_Job-Accounting-Fields
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from backends._slurm.transport import NativeJob
from pman_core.errors import Unparseable

FIELD_END, RECORD_END = "\x1f", "\x1e"

SQUEUE_FIELDS = (
    "JobID",
    "State",
    "Reason",
    "exit_code",
    "RestartCnt",
    "TimeLimit",
    "UserName",
    "SubmitTime",
    "StartTime",
    "EndTime",
    "NodeList",
    "Name",
    "Comment",
)
SQUEUE_FORMAT = ",".join(f"{name}:{FIELD_END}" for name in SQUEUE_FIELDS[:-1]) + f",{SQUEUE_FIELDS[-1]}:{RECORD_END}"
SACCT_FIELDS = (
    "JobIDRaw",
    "State",
    "Reason",
    "ExitCode",
    "TimelimitRaw",
    "User",
    "Submit",
    "Start",
    "End",
    "NodeList",
    "JobName",
)

NOTHING = frozenset({"", "(null)", "N/A", "Unknown", "None", "None assigned", "NONE", "n/a"})
NOT_STARTED = ("PENDING", "PD", "REQUEUE", "RQ", "RH", "RF", "CONFIGURING", "CF", "RESV_DEL_HOLD", "SPECIAL_EXIT", "SE")


def jobs_from_squeue(output: str) -> list[NativeJob]:
    """Read a listing. Raises Unparseable: a record is not what was asked for, or the last one is cut."""
    *records, rest = output.split(RECORD_END)
    if rest.strip():
        raise Unparseable("squeue has printed a record that is cut", rest)
    return [_squeue_record(record.lstrip("\n")) for record in records]


def _squeue_record(record: str) -> NativeJob:
    values = record.split(FIELD_END)
    if len(values) != len(SQUEUE_FIELDS):
        raise Unparseable(f"squeue has printed {len(values)} fields and not {len(SQUEUE_FIELDS)}", record)
    job_id, state, reason, code, restarts, limit, user, submitted, started, finished, nodes, name, comment = values
    try:
        exit_status, signal = exit_from(code)
        has_started = not state.startswith(NOT_STARTED)
        return NativeJob(
            job_id=int(job_id),
            state=state,
            name=name,
            comment=text_of(comment),
            user=user,
            reason=text_of(reason),
            exit_status=exit_status,
            signal=signal,
            submitted_at=moment(submitted),
            started_at=moment(started) if has_started else None,
            finished_at=moment(finished) if has_started and not state.startswith(("RUNNING", "SUSPENDED")) else None,
            nodes=text_of(nodes),
            restarts=int(restarts),
            time_limit_minutes=minutes_of(limit),
        )
    except ValueError as error:
        raise Unparseable(f"squeue has printed what cannot be read: {error}", record) from error


def jobs_from_sacct(output: str) -> list[NativeJob]:
    """Read what accounting says of jobs, without their steps. Raises Unparseable."""
    return list(_sacct_records(output))


def _sacct_records(output: str) -> Iterator[NativeJob]:
    for line in output.splitlines():
        values = line.split(FIELD_END)
        if len(values) != len(SACCT_FIELDS):
            raise Unparseable(f"sacct has printed {len(values)} fields and not {len(SACCT_FIELDS)}", line)
        job_id, state, reason, code, limit, user, submitted, started, finished, nodes, name = values
        try:
            exit_status, signal = exit_from(code)
            yield NativeJob(
                job_id=int(job_id),
                state=state,
                name=name,
                user=user,
                reason=text_of(reason),
                exit_status=exit_status,
                signal=signal,
                submitted_at=moment(submitted),
                started_at=moment(started),
                finished_at=moment(finished),
                nodes=text_of(nodes),
                time_limit_minutes=int(limit) if limit.isdigit() else None,
            )
        except ValueError as error:
            raise Unparseable(f"sacct has printed what cannot be read: {error}", line) from error


def exit_from(code: str) -> tuple[int | None, int]:
    """Return exit status and signal of ``3:0``, or of a raw wait status, which squeue prints."""
    if code in NOTHING:
        return None, 0
    if ":" in code:
        status, signal = code.split(":")
        return int(status), int(signal)
    return status_from(int(code))


def status_from(raw: int) -> tuple[int | None, int]:
    """Return exit status and signal of a raw wait status, as wait(2) has it; 53 and 125 are Slurm's own."""
    return (0, raw & 0x7F) if raw & 0x7F else ((raw >> 8) & 0xFF, 0)


def moment(text: str) -> datetime | None:
    """Read a time as the pinned environment has it printed: UTC."""
    return None if text in NOTHING else datetime.fromisoformat(text).replace(tzinfo=UTC)


def minutes_of(limit: str) -> int | None:
    """Read ``1-02:03:00``, ``2:03:00`` or ``3:00``; of UNLIMITED, NOT_SET and the like, nothing."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):\d+", limit)
    if found is None:
        return None
    days, hours, minutes = (int(number or 0) for number in found.groups())
    return (days * 24 + hours) * 60 + minutes


def text_of(value: str) -> str:
    return "" if value in NOTHING else value


def unaccounted_from_sdiag(text: str) -> int:
    """Return how many messages wait for slurmdbd, as sdiag tells it; 0 where it tells nothing of them."""
    found = re.search(r"^DBD Agent queue size:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
