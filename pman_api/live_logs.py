"""Who polls a running job gets a fresh log now and then: a GET may enqueue one task that reads it.

The store decides who may (once per LIVE_LOGS_S for each job, over all processes). Asking it at each GET would double
the cost of polling, so each process remembers which jobs it has asked for lately.
"""

import logging
from collections.abc import Callable

from pman_api.enqueue import enqueue
from pman_api.guarded_store import GuardedStore
from pman_api.reports import Reports
from pman_core.broker import Publisher
from pman_core.errors import StoreUnavailable
from pman_core.job import JobRecord
from pman_core.queues import Task
from pman_core.states import State

log = logging.getLogger(__name__)


class LiveLogs:
    """Enqueues log reads for jobs that are polled while they run."""

    def __init__(
        self,
        store: GuardedStore,
        publisher: Publisher,
        reports: Reports,
        every_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        """Allow one read per ``every_s`` and job; 0 turns live logs off."""
        self._store = store
        self._publisher = publisher
        self._reports = reports
        self._every_s = every_s
        self._monotonic = monotonic
        self._asked: set[str] = set()
        self._forget_at = float("-inf")

    def polled(self, record: JobRecord) -> None:
        """Note that a client reads ``record``. Never raises for a store or a queue that is away."""
        if record.state is not State.RUNNING or not self._every_s or self._asked_lately(record.generation):
            return
        try:
            capabilities = self._reports.capabilities()
            if capabilities and not capabilities.live_logs:
                return
            if self._store.claim_refresh(record.jid, record.generation, self._every_s):
                enqueue(self._publisher, Task.REFRESH, record.jid, record.generation, record.host)
        except StoreUnavailable as error:
            log.warning("no log refresh: jid=%s error=%s", record.jid, error)

    def _asked_lately(self, generation: str) -> bool:
        now = self._monotonic()
        if now >= self._forget_at:
            # Half the time: if another process has the claim and is polled no more, we soon ask again.
            self._forget_at = now + self._every_s / 2
            self._asked = set()
        if generation in self._asked:
            return True
        self._asked.add(generation)
        return False
