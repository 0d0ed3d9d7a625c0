"""The store as the API uses it: once it was found away, one request at a time finds out whether it is back.

A Redis that hangs costs every caller its whole time-out. With more callers than threads the others would wait for a
thread, far longer than a reply may take. So while one request asks, all others hear at once that the store is away.
There is no time to wait out: the first answer lets everybody in again.

A process that nobody has asked since the store went away does not know that it is back. There the others wait a moment
for that first answer, or they would be refused by what was true long ago.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pman_core.errors import StoreUnavailable
from pman_core.job import JobRecord
from pman_core.request import JobRequest
from pman_core.store.protocol import Announce, BackendReport, Creation, Deletion, Obligation, Page, Store

STALE_S = 5.0
"""During an absence somebody asks all the time and is answered sooner: what is older is not known any more."""
PATIENCE_S = 0.5

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class GuardedStore:
    """The methods of :class:`pman_core.store.protocol.Store` that the API needs, with the same promises."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._is_away = False
        self._away_at_s = 0.0
        self._trial = threading.Lock()

    def ping(self) -> None:
        self._ask(self._store.ping)

    def create(self, request: JobRequest, backend: str, announce: Announce) -> Creation:
        return self._ask(self._store.create, request, backend, announce)

    def read(self, jid: str) -> JobRecord | None:
        return self._ask(self._store.read, jid)

    def delete(self, jid: str, claim_s: float) -> Deletion:
        return self._ask(self._store.delete, jid, claim_s)

    def postpone(self, backend: str, obligation: Obligation, delay_s: float) -> None:
        self._ask(self._store.postpone, backend, obligation, delay_s)

    def page(self, cursor: str, limit: int) -> Page:
        return self._ask(self._store.page, cursor, limit)

    def claim_refresh(self, jid: str, generation: str, every_s: float) -> bool:
        return self._ask(self._store.claim_refresh, jid, generation, every_s)

    def report(self, backend: str) -> BackendReport | None:
        return self._ask(self._store.report, backend)

    def _ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._is_away:
            return self._try(question, *args, **kwargs)
        try:
            return question(*args, **kwargs)
        except StoreUnavailable as error:
            # Said once for each absence, not for each of a thousand pollers.
            log.warning("the store does not answer: %s", error)
            self._note_away()
            raise

    def _try(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        is_stale = self._monotonic() - self._away_at_s > STALE_S
        if not self._trial.acquire(timeout=PATIENCE_S if is_stale else 0):
            raise StoreUnavailable("it did not answer before, and another request is finding out whether it is back")
        try:
            answer = question(*args, **kwargs)
            if self._is_away:
                log.warning("the store answers again")
            self._is_away = False
        except StoreUnavailable:
            self._note_away()
            raise
        finally:
            self._trial.release()
        return answer

    def _note_away(self) -> None:
        self._is_away, self._away_at_s = True, self._monotonic()
