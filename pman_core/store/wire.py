"""Between the record in Python and the hash in Redis. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

from pman_core.job import JobRecord
from pman_core.states import SOURCES, State
from pman_core.store.protocol import LOG_BYTES_MAX, MESSAGE_CHARS_MAX, Change

SOURCES_TEXT = {to: " " + " ".join(sorted(sources)) + " " for to, sources in SOURCES.items()}
"""What ``advance.lua`` is told of the table of states: the sources of the asked state, spaces around each."""

LIST_FIELDS = (
    "generation", "digest", "backend", "state", "image", "cmd", "created_at", "message", "reason", "exit_code",
    "native_state", "host", "started_at", "finished_at", "attempts",
)  # fmt: skip
READ_FIELDS = (*LIST_FIELDS, "logs", "logs_at")
WORK_FIELDS = (
    *LIST_FIELDS, "request", "handle", "handle_at", "retries", "enqueues", "next_attempt_at", "lease_until",
    "absent", "logs_at", "logs_missing", "image_at",
)  # fmt: skip


def to_record(jid: str, fields: Mapping[str, str]) -> JobRecord:
    """Return the record of a hash; what is not in it has its default."""

    def number(name: str) -> int:
        return int(fields.get(name) or 0)

    exit_code = fields.get("exit_code")
    return JobRecord(
        jid=jid,
        generation=fields["generation"],
        digest=fields["digest"],
        backend=fields["backend"],
        state=State(fields["state"]),
        image=fields["image"],
        cmd=fields["cmd"],
        created_at_ms=number("created_at"),
        request_json=fields.get("request", ""),
        message=fields.get("message", ""),
        reason=fields.get("reason", ""),
        exit_code=None if exit_code is None else int(exit_code),
        native_state=fields.get("native_state", ""),
        handle_json=fields.get("handle", ""),
        handle_at_ms=number("handle_at"),
        host=fields.get("host", ""),
        started_at_ms=number("started_at"),
        finished_at_ms=number("finished_at"),
        attempts=number("attempts"),
        retries=number("retries"),
        enqueues=number("enqueues"),
        next_attempt_at_ms=number("next_attempt_at"),
        lease_until_ms=number("lease_until"),
        absent=number("absent"),
        logs=fields.get("logs", ""),
        logs_at_ms=number("logs_at"),
        logs_missing="logs_missing" in fields,
        image_at_ms=number("image_at"),
    )


def only(record: JobRecord, names: Collection[str]) -> JobRecord:
    """Return ``record`` as one sees it who reads only the fields ``names`` of its hash."""
    special = {"request": "request_json", "handle": "handle_json"}
    seen = {special.get(name, f"{name}_ms" if name.endswith(("_at", "_until")) else name) for name in names}
    hidden: dict[str, Any] = {f.name: f.default for f in fields_of(record) if f.name not in seen | {"jid"}}
    return replace(record, **hidden)


def change_fields(change: Change, is_terminal: bool) -> list[str | int]:
    """Return what ``change`` writes, as field, value, field, value ..."""
    pairs: dict[str, str | int] = {}
    if change.message is not None:
        pairs["message"] = clip_message(change.message)
    if change.exit_code is not None:
        pairs["exit_code"] = change.exit_code
    if change.logs is not None:
        pairs["logs"] = clip_logs(change.logs)
    if change.logs_missing and is_terminal:
        pairs["logs_missing"] = "1"
    if change.image_missing:
        pairs["image_at"] = 0
    told: dict[str, str | int] = {
        "host": change.host,
        "reason": change.reason,
        "native_state": clean(change.native_state),
        "handle": change.handle_json,
        "started_at": change.started_at_ms,
        "finished_at": change.finished_at_ms,
    }
    pairs |= {name: value for name, value in told.items() if value}
    return [item for pair in pairs.items() for item in pair]


def clean(text: str) -> str:
    """Return ``text`` without the halves of surrogate pairs that a scheduler's output may hold: they have no UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def clip_message(message: str) -> str:
    """Return the beginning of ``message``: at most ``MESSAGE_CHARS_MAX`` characters."""
    return clean(message[:MESSAGE_CHARS_MAX])


def clip_logs(logs: str) -> str:
    """Return the end of ``logs``: at most ``LOG_BYTES_MAX`` bytes of UTF-8."""
    raw = logs[-LOG_BYTES_MAX:].encode(errors="replace")
    return raw[-LOG_BYTES_MAX:].decode(errors="ignore")
