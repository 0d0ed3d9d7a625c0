"""What the memory store holds: the readable twin of the keys in Redis."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pman_core.job import JobRecord
from pman_core.states import State
from pman_core.store.policy import Policy
from pman_core.store.protocol import BackendReport, Obligation


@dataclass
class Job:
    """A record and what only the store sees of it."""

    record: JobRecord
    due_ms: int = 0
    lease: str = ""
    absent: int = 0
    absent_since_ms: int = 0
    listed_at_ms: int = 0
    fence_until_ms: int = 0
    ended_ms: int = 0

    @property
    def whole(self) -> JobRecord:
        """The record as a reader of all its fields sees it."""
        return replace(self.record, absent=self.absent)

    def is_leased(self, now: int) -> bool:
        return bool(self.lease) and self.record.lease_until_ms > now


@dataclass
class Tomb:
    upto: str = ""
    fences: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    """Generation -> end of its submit lease (0: returned), for every object that is not verified gone."""

    def fenced_until_ms(self, generation: str, fence_ms: int) -> int:
        """A lease that is not returned has a fence behind it: its holder may only be asleep."""
        lease_until_ms, fence_until_ms = self.open.get(generation, 0), self.fences.get(generation, 0)
        return max(fence_until_ms, lease_until_ms + fence_ms) if lease_until_ms else fence_until_ms


@dataclass
class Image:
    """One image of one backend: who pulls it, and who waits."""

    token: str = ""
    until_ms: int = 0
    fetched_ms: int = 0
    waiters: dict[str, str] = field(default_factory=dict)


class MemoryTables:
    """All of it, under one lock. Each part of :class:`pman_core.store.memory.MemoryStore` stands on this."""

    def __init__(
        self, instance: str = "pman", policy: Policy | None = None, now_ms: Callable[[], int] | None = None
    ) -> None:
        self.instance = instance
        self.now_ms: Callable[[], int] = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._policy = policy or Policy()
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._tombs: dict[str, Tomb] = {}
        self._obligations: dict[str, dict[Obligation, int]] = {}
        self._images: dict[tuple[str, str], Image] = {}
        self._leaders: dict[str, tuple[str, int, int]] = {}
        self._epochs: set[str] = set()
        self._reports: dict[str, BackendReport] = {}
        self._queues: Counter[str] = Counter()

    def _find(self, jid: str, generation: str) -> Job | None:
        job = self._jobs.get(jid)
        return job if job and job.record.generation == generation else None

    def _jobs_in(self, backend: str, states: frozenset[State]) -> list[Job]:
        return [job for job in self._jobs.values() if job.record.backend == backend and job.record.state in states]
