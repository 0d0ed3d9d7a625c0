"""Lists and counts of the jobs in memory: a part of :class:`pman_core.store.memory.MemoryStore`, which only reads."""

from collections.abc import Iterator, Mapping

from pman_core.states import NATIVE, TERMINAL, WAITING
from pman_core.store.memory_tables import MemoryTables
from pman_core.store.protocol import Page
from pman_core.store.wire import LIST_FIELDS, only


class MemoryLists(MemoryTables):
    """See :class:`pman_core.store.protocol.Store` for what each method promises."""

    def running(self, backend: str) -> list[str]:
        with self._lock:
            jobs = sorted(self._jobs_in(backend, NATIVE), key=lambda job: (job.record.handle_at_ms, job.record.jid))
            return [job.record.jid for job in jobs]

    def active(self, backend: str) -> Iterator[str]:
        with self._lock:
            jids = [job.record.jid for job in self._jobs_in(backend, WAITING)]
        yield from jids
        yield from self.running(backend)

    def due(self, backend: str, limit: int) -> list[str]:
        with self._lock:
            jobs = [job for job in self._jobs_in(backend, WAITING) if job.due_ms <= self.now_ms()]
            return [job.record.jid for job in sorted(jobs, key=lambda job: (job.due_ms, job.record.jid))[:limit]]

    def ended_before(self, backend: str, finished_before_ms: int, limit: int) -> list[str]:
        with self._lock:
            jobs = [job for job in self._jobs_in(backend, TERMINAL) if job.ended_ms <= finished_before_ms]
            return [job.record.jid for job in sorted(jobs, key=lambda job: (job.ended_ms, job.record.jid))[:limit]]

    def counts(self, backend: str) -> Mapping[str, int]:
        with self._lock:
            groups = {"waiting": WAITING, "running": NATIVE, "terminal": TERMINAL}
            counts = {name: len(self._jobs_in(backend, states)) for name, states in groups.items()}
            return counts | {"obligations": len(self._obligations.get(backend, {}))}

    def page(self, cursor: str, limit: int) -> Page:
        with self._lock:
            members = sorted((f"{job.record.generation} {jid}" for jid, job in self._jobs.items()), reverse=True)
            rest = [member for member in members if not cursor or member < cursor]
            records = [self._jobs[member.split(" ", 1)[1]].record for member in rest[:limit]]
            return Page([only(record, LIST_FIELDS) for record in records], rest[limit - 1] if len(rest) > limit else "")
