"""Ending the jobs that are past their time limit, for schedulers that do not do it themselves.

Only the scheduler is told; the end comes back as an observation, like every other.
"""

import logging
import time
from collections.abc import Callable, Iterable

from pman_core.errors import Unavailable
from pman_worker.context import Context

log = logging.getLogger(__name__)

AGAIN_S = 30.0
"""So long an order may take to show, before it is given again."""
BUDGET_S = 2.0
"""So long a round gives orders; a scheduler that hangs must not keep everything else waiting."""

Started = tuple[str, str, int, int | None]
"""A running job: jid, generation, when it started, in ms on the scheduler's clock, and the minutes it has asked for."""


class Overdue:
    """The orders of one leader."""

    def __init__(self, ctx: Context, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ctx = ctx
        self._clock_s = clock_s
        self._again_s: dict[tuple[str, str], float] = {}

    def end(self, running: Iterable[Started]) -> int:
        """Give the order to end every overdue job of ``running``, once per ``AGAIN_S``. Returns how many were told."""
        if self._ctx.backend.capabilities.ends_overdue:
            return 0
        limited = [
            (jid, generation, started_ms + limit_s * 1000)
            for jid, generation, started_ms, asked_minutes in running
            if started_ms > 0 and (limit_s := self._ctx.settings.time_limit_s(asked_minutes)) is not None
        ]
        if not limited:
            return 0
        now_ms = self._ctx.store.now_ms()
        overdue = [(jid, generation) for jid, generation, until_ms in limited if until_ms < now_ms]
        still = set(overdue)
        self._again_s = {key: at_s for key, at_s in self._again_s.items() if key in still}
        until_s = self._clock_s() + BUDGET_S
        told = 0
        for key in overdue:
            if self._clock_s() > until_s:
                break
            if self._again_s.get(key, 0.0) <= self._clock_s():
                self._again_s[key] = self._clock_s() + AGAIN_S
                told += self._tell(*key)
        return told

    def _tell(self, jid: str, generation: str) -> bool:
        log.info("past its time limit: jid=%s generation=%s", jid, generation)
        try:
            self._ctx.backend.end_overdue(jid, generation)
        except Unavailable as error:
            log.warning("not ended yet: jid=%s generation=%s %s", jid, generation, error)
        except Exception:
            log.exception("not ended: jid=%s generation=%s", jid, generation)
        else:
            return True
        return False
