"""How long trouble may last before a job is ended for it, and who is asked about it how often."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backends._kubernetes.identity import Object
from backends._kubernetes.trouble import Trouble, trouble_in, trouble_of, who_is_silent

SILENT_S = 5.0
"""So long a pod or a Job may be without a word before its events are asked for: most start within that time."""
AGAIN_S = 10.0
"""So long until events are asked for again, or a job that could not be ended is tried again."""


@dataclass(slots=True)
class _Memory:
    troubled_since_s: float | None = None
    given_up_at_s: float = float("-inf")
    silent_since_s: float | None = None
    asked_at_s: float = float("-inf")
    told: Trouble | None = None
    """What the events told when they were asked for."""


class Patience:
    """Remembers by generation since when a job has been in trouble. Times are this process's own."""

    def __init__(self, grace_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._grace_s = grace_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._memories: dict[str, _Memory] = {}

    def look(
        self,
        generation: str,
        job: Object,
        pods: Sequence[Object],
        events_of: Callable[[str], Iterable[Object]],
    ) -> tuple[Trouble | None, bool]:
        """Return what keeps a job that has not ended from starting, and whether it is to be ended for that, now.

        ``events_of`` is called with a UID, seldom: what a kubelet or the Job controller cannot do is told nowhere else.
        """
        with self._lock:
            memory = self._memories.setdefault(generation, _Memory())
        now_s = self._clock_s()
        trouble = trouble_of(pods) or self._ask(memory, who_is_silent(job, pods), now_s, events_of)
        if trouble is None or not trouble.is_lasting:
            memory.troubled_since_s = None
            return trouble, False
        if memory.troubled_since_s is None:
            memory.troubled_since_s = now_s
        if now_s - memory.troubled_since_s < self._grace_s or now_s - memory.given_up_at_s < AGAIN_S:
            return trouble, False
        memory.given_up_at_s = now_s
        return trouble, True

    def forget_all_but(self, generations: Iterable[str]) -> None:
        """Forget the jobs that have ended or are gone."""
        with self._lock:
            for known in self._memories.keys() - set(generations):
                del self._memories[known]

    def _ask(
        self, memory: _Memory, uid: str, now_s: float, events_of: Callable[[str], Iterable[Object]]
    ) -> Trouble | None:
        if not uid:
            memory.silent_since_s = memory.told = None
            return None
        if memory.silent_since_s is None:
            memory.silent_since_s = now_s
        if now_s - memory.silent_since_s >= SILENT_S and now_s - memory.asked_at_s >= AGAIN_S:
            memory.asked_at_s = now_s
            memory.told = trouble_in(events_of(uid))
        return memory.told
