"""How long trouble may last before a job is ended for it, and who is asked about it how often."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backends._kubernetes.identity import Object
from backends._kubernetes.trouble import Trouble, trouble_in, trouble_of, who_is_silent

SILENT_S = 5.0
"""So long a pod or a Job may be without a word before its events are asked for: most start within that time."""
AGAIN_S = 10.0
"""So long until events are asked for again, of anybody if they could not be had or came slowly, or a job that could not
be ended is tried again."""
SLOW_S = 1.0
"""Whoever asks has other jobs to look at, so an answer that takes this long is not followed by the next question."""
BETWEEN_S = 0.2
"""So far apart all these questions are: a thousand jobs may be waiting for one volume, and each has its turn."""
GONE_S = 2.0
"""Who has to wait for its turn and is still there has been looked at again by then."""

EventsOf = Callable[[str], Iterable[Object] | None]
"""Lists the events of an object by its UID; ``None`` if that cannot be done now. What a kubelet or the Job controller
cannot do is told nowhere else."""


@dataclass(slots=True)
class _Memory:
    troubled_since_s: float | None = None
    ended_at_s: float = -math.inf
    """When the job was last told to end, as far as this process knows."""
    silent_since_s: float | None = None
    asked_at_s: float = -math.inf
    heard_at_s: float = -math.inf
    """When they could last be had."""
    told: Trouble | None = None
    """What they told then."""


class Patience:
    """Remembers by generation since when a job has been in trouble. Times are this process's own."""

    def __init__(self, grace_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._grace_s = grace_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._memories: dict[str, _Memory] = {}
        self._asked_at_s = -math.inf
        self._deaf_since_s = -math.inf
        """When the last answer came, if it was slow or none: until one is prompt, all ask in their turn alone."""
        self._round_at_s = -math.inf
        """Since when each job that waits has its turn once."""
        self._kept_waiting_at_s = -math.inf
        """When a job that has not had its turn was last made to wait for it."""

    def look(
        self, generation: str, job: Object, pods: Sequence[Object], events_of: EventsOf
    ) -> tuple[Trouble | None, bool]:
        """Return what keeps a job that has not ended from starting, and whether it is to be ended for that, now."""
        memory, now_s = self._memory(generation), self._clock_s()
        shown, uid = trouble_of(pods), who_is_silent(job, pods)
        if not uid:
            memory.silent_since_s = memory.told = None
        elif memory.silent_since_s is None:
            memory.silent_since_s = now_s
        elif now_s - memory.silent_since_s >= SILENT_S and self._may_ask(memory, now_s):
            self._ask(memory, uid, now_s, events_of)
        is_over = self._is_over(memory, shown or memory.told, now_s)
        if is_over and shown is None:  # it may have passed by now
            if memory.asked_at_s < now_s and self._deaf_since_s == -math.inf:
                self._ask(memory, uid, now_s, events_of)
            has_heard = memory.heard_at_s >= now_s  # a question that failed is no answer
            is_over = has_heard and self._is_over(memory, memory.told, now_s)
        if is_over:
            memory.ended_at_s = now_s
        return shown or memory.told, is_over

    def has_waited(self, generation: str) -> bool:
        """Whether a job that was told to end is to be told again: who did so may have died over it."""
        memory, now_s = self._memory(generation), self._clock_s()
        is_due = AGAIN_S <= now_s - memory.ended_at_s < math.inf
        if is_due or memory.ended_at_s == -math.inf:
            memory.ended_at_s = now_s
        return is_due

    def may_try(self, generation: str) -> bool:
        """Whether a job may be ended now: what has been tried in vain is not tried again at once."""
        memory, now_s = self._memory(generation), self._clock_s()
        is_due = now_s - memory.ended_at_s >= AGAIN_S
        if is_due:
            memory.ended_at_s = now_s
        return is_due

    def forget_all_but(self, generations: Iterable[str]) -> None:
        """Forget the jobs whose Jobs are gone."""
        with self._lock:
            for known in self._memories.keys() - set(generations):
                del self._memories[known]

    def _memory(self, generation: str) -> _Memory:
        with self._lock:
            return self._memories.setdefault(generation, _Memory())

    def _may_ask(self, memory: _Memory, now_s: float) -> bool:
        """Whoever is looked at first must not be asked about again and again while others never are."""
        if now_s - memory.asked_at_s < AGAIN_S:
            return False
        has_had_turn = memory.asked_at_s >= self._round_at_s
        if has_had_turn and now_s - self._kept_waiting_at_s < GONE_S:
            return False
        if self._is_deaf(now_s) or now_s - self._asked_at_s < BETWEEN_S:
            if not has_had_turn:
                self._kept_waiting_at_s = now_s
            return False
        if has_had_turn:
            self._round_at_s = now_s
        return True

    def _is_deaf(self, now_s: float) -> bool:
        """Whoever asks has other jobs to look at: it must not wait for a time-out for each of them."""
        return now_s - self._deaf_since_s < AGAIN_S

    def _ask(self, memory: _Memory, uid: str, now_s: float, events_of: EventsOf) -> None:
        memory.asked_at_s = self._asked_at_s = now_s
        events = events_of(uid)
        self._asked_at_s = self._clock_s()  # one that hangs must not be followed by the next at once
        is_prompt = events is not None and self._asked_at_s - now_s < SLOW_S
        self._deaf_since_s = -math.inf if is_prompt else self._asked_at_s
        if events is not None:
            memory.heard_at_s, memory.told = now_s, trouble_in(events)

    def _is_over(self, memory: _Memory, trouble: Trouble | None, now_s: float) -> bool:
        if trouble is None or not trouble.is_lasting:
            memory.troubled_since_s = None
            return False
        if memory.troubled_since_s is None:
            memory.troubled_since_s = now_s
        if trouble.is_tried_again:
            return False
        return now_s - memory.troubled_since_s >= self._grace_s and now_s - memory.ended_at_s >= AGAIN_S
