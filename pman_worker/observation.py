"""From what a scheduler says to what a record says. Pure."""

from datetime import datetime

from pman_core.backend import Observed
from pman_core.states import Reason, State
from pman_core.store.protocol import Change


def to_change(observed: Observed, logs: str | None = None, *, logs_missing: bool = False) -> Change:
    """Return the move that ``observed`` asks for; the store decides whether it is possible."""
    message = observed.message
    if logs_missing:
        message = f"{message} (the log could not be read when the job ended)".strip()
    return Change(
        observed.jid,
        observed.generation,
        observed.state,
        host=observed.handle.host,
        message=message,
        reason=observed.reason or "",
        native_state=observed.native_state,
        handle_json=observed.handle.to_json(),
        exit_code=observed.exit_code,
        started_at_ms=_to_ms(observed.started_at),
        finished_at_ms=_to_ms(observed.finished_at),
        logs=logs,
        logs_missing=logs_missing,
    )


def to_lost(jid: str, generation: str, absent_ms: int) -> Change:
    """Return the end of a job that the scheduler has forgotten."""
    message = f"the scheduler answers, but has not known the job for {absent_ms / 1000:.0f} s"
    return Change(jid, generation, State.LOST, reason=Reason.VANISHED, message=message, only_if_absent=True)


def _to_ms(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1000)
