"""A record as clients see it: the frozen wire contract. Pure.

The first seven keys are those of the old pman, all strings, never fewer; the others are additions.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from pman_core.job import JobRecord
from pman_core.states import WIRE_STATUS

WARNINGS_MAX = 20
NAME_CHARS_MAX = 100


def to_wire(record: JobRecord) -> dict[str, object]:
    """Return the record as it is shown to clients."""
    finished_at = iso_time(record.finished_at_ms) if record.is_terminal else None
    return {
        "jid": record.jid,
        "image": record.image,
        "cmd": record.cmd,
        "status": WIRE_STATUS[record.state],
        "message": record.message,
        "timestamp": finished_at or "",
        "logs": record.logs,
        "state": record.state,
        "reason": record.reason,
        "exit_code": record.exit_code,
        "native_state": record.native_state,
        "created_at": iso_time(record.created_at_ms),
        "started_at": iso_time(record.started_at_ms),
        "finished_at": finished_at,
        "generation": record.generation,
        "attempts": record.attempts,
    }


def to_warnings(ignored_keys: Sequence[str]) -> list[str]:
    """Return one warning for each key of a request that was ignored; a reply stays small whatever the keys are."""
    named = [f"{shortened(key)}: unknown key, ignored" for key in ignored_keys[:WARNINGS_MAX]]
    more = len(ignored_keys) - len(named)
    return [*named, f"and {more} more unknown keys, ignored"] if more else named


def iso_time(at_ms: int) -> str | None:
    """Return ISO 8601 in UTC with milliseconds, or ``None`` for 0, which means never."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds") if at_ms else None


def shortened(key: str) -> str:
    """Return a client's key at a length that fits into a reply."""
    return key if len(key) <= NAME_CHARS_MAX else key[: NAME_CHARS_MAX - 1] + "…"
