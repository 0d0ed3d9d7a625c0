"""Obligations and tombstones in memory: a part of :class:`pman_core.store.memory.MemoryStore`, the twin of
``lua/settle.lua``, ``standing.lua``, ``release.lua`` and ``unsettled.lua``.
"""

from dataclasses import astuple, replace

from pman_core.store.memory_tables import MemoryTables, Tomb
from pman_core.store.protocol import Obligation, Standing


class MemoryObligations(MemoryTables):
    """See :class:`pman_core.store.protocol.Store` for what each method promises."""

    def _oblige(self, backend: str, obligation: Obligation, due_ms: int) -> None:
        self._obligations.setdefault(backend, {})[obligation] = due_ms

    def obligations(self, backend: str, limit: int) -> list[Obligation]:
        with self._lock:
            due = [(due, o) for o, due in self._obligations.get(backend, {}).items() if due <= self.now_ms()]
            return [o for _, o in sorted(due, key=lambda pair: (pair[0], astuple(pair[1])))[:limit]]

    def postpone(self, backend: str, obligation: Obligation, delay_s: float) -> None:
        with self._lock:
            if obligation in self._obligations.get(backend, {}):
                self._obligations[backend][obligation] = self.now_ms() + round(delay_s * 1000)

    def settle(self, backend: str, obligation: Obligation) -> bool:
        with self._lock:
            tomb = self._tombs.get(obligation.jid, Tomb())
            if tomb.open.get(obligation.generation, 0) > self.now_ms():
                return False
            fence_until_ms = tomb.fenced_until_ms(obligation.generation, self._policy.fence_ms)
            tomb.open.pop(obligation.generation, None)
            # The obligation may have been written before the job had a host.
            self._obligations.get(backend, {}).pop(replace(obligation, host=""), None)
            if fence_until_ms > self.now_ms():
                tomb.fences[obligation.generation] = fence_until_ms
                self._oblige(backend, obligation, fence_until_ms)
            else:
                tomb.fences.pop(obligation.generation, None)
                self._obligations.get(backend, {}).pop(obligation, None)
            return True

    def standing(self, jid: str, generation: str) -> Standing:
        with self._lock:
            tomb, now = self._tombs.get(jid, Tomb()), self.now_ms()
            is_fenced = tomb.fenced_until_ms(generation, self._policy.fence_ms) > now
            return Standing(tomb.open.get(generation, 0) > now, is_fenced)

    def release(self, jid: str, generation: str) -> bool:
        with self._lock:
            tomb = self._tombs.get(jid, Tomb())
            if self._find(jid, generation):
                return False  # it took over a later one
            if generation in tomb.open:
                tomb.open[generation] = 0
            return generation <= tomb.upto

    def unsettled(self, jid: str) -> list[str]:
        with self._lock:
            return sorted(self._tombs.get(jid, Tomb()).open)
