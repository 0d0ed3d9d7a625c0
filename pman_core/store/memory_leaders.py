"""Who leads, what the leader has missed, and what workers say of themselves: a part of
:class:`pman_core.store.memory.MemoryStore`, the twin of ``lua/lead.lua``, ``resign.lua``, ``note_absent.lua``,
``note_present.lua`` and ``begin_epoch.lua``.
"""

from dataclasses import replace

from pman_core.states import NATIVE, WAITING
from pman_core.store.memory_tables import MemoryTables
from pman_core.store.protocol import BackendReport


class MemoryLeaders(MemoryTables):
    """See :class:`pman_core.store.protocol.Store` for what each method promises."""

    def lead(self, scope: str, token: str, lease_s: float) -> bool:
        with self._lock:
            now = self.now_ms()
            holder, until_ms, since_ms = self._leaders.get(scope, ("", 0, 0))
            if holder not in {"", token} and until_ms > now:
                return False
            self._leaders[scope] = (token, now + round(lease_s * 1000), since_ms if holder == token else now)
            return True

    def resign(self, scope: str, token: str) -> None:
        with self._lock:
            if self._leaders.get(scope, ("", 0, 0))[0] == token:
                del self._leaders[scope]

    def note_absent(self, jid: str, generation: str, scope: str, token: str, listed_at_ms: int) -> tuple[int, int]:
        with self._lock:
            now = self.now_ms()
            job = self._find(jid, generation)
            holder, until_ms, since_ms = self._leaders.get(scope, ("", 0, 0))
            leads = holder == token and until_ms > now and since_ms < listed_at_ms
            if not job or job.record.state not in NATIVE or not leads or job.record.handle_at_ms >= listed_at_ms:
                return 0, 0
            count, absent_since_ms = job.absent, job.absent_since_ms or now
            if absent_since_ms <= since_ms:
                count, absent_since_ms = 0, now
            if job.listed_at_ms < listed_at_ms:
                count += 1
                job.absent, job.absent_since_ms, job.listed_at_ms = count, absent_since_ms, listed_at_ms
            return count, now - absent_since_ms

    def note_present(self, jid: str, generation: str) -> None:
        with self._lock:
            job = self._find(jid, generation)
            if job:
                job.absent = job.absent_since_ms = 0

    def epoch(self, backend: str) -> bool:
        return backend in self._epochs

    def begin_epoch(self, backend: str) -> None:
        with self._lock:
            self._epochs.add(backend)
            waiting = list(self._jobs_in(backend, WAITING))
            latest_ms = max((job.due_ms for job in waiting), default=0)
            for job in waiting:
                job.due_ms -= latest_ms  # long past, and in the same order

    def publish(self, report: BackendReport) -> None:
        self._reports[report.name] = replace(report, reported_at_ms=self.now_ms())

    def report(self, backend: str) -> BackendReport | None:
        return self._reports.get(backend)
