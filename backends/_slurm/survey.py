"""One listing of all jobs, shared by everybody who asks within a period: never one call for each job."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backends._slurm.identity import generation_from, identity_from
from backends._slurm.transport import NativeJob, Transport
from pman_core.errors import BackendError, Unparseable


@dataclass(frozen=True, slots=True)
class Listing:
    """All that slurmctld knew of us at one time."""

    began_at_s: float
    """By the clock of this host, before it was asked."""
    by_id: Mapping[int, NativeJob] = field(default_factory=dict)
    by_generation: Mapping[str, Sequence[NativeJob]] = field(default_factory=dict)


def listing_of(jobs: Sequence[NativeJob], instance: str, began_at_s: float) -> Listing:
    """Put the jobs of one instance in order. Pure.

    Those whose comment is not ours any more are kept: the control folder of their generation tells whose they are.
    """
    by_generation: dict[str, list[NativeJob]] = defaultdict(list)
    by_id = {}
    for job in jobs:
        identity = identity_from(job.comment)
        if identity is not None and identity.instance != instance:
            continue
        generation = identity.generation if identity is not None else generation_from(job.name)
        if generation:
            by_generation[generation].append(job)
            by_id[job.job_id] = job
    return Listing(began_at_s, by_id, dict(by_generation))


class Survey:
    """Asks for all jobs, at most once per period; a question that failed is not asked again within it either."""

    def __init__(self, transport: Transport, instance: str, period_s: float) -> None:
        self._transport = transport
        self._instance = instance
        self._period_s = period_s
        self._lock = threading.Lock()
        self._began_s = self._answered_s = float("-inf")
        self._answer: Listing | BackendError = Unparseable("never asked", "")

    def take(self, *, fresh: bool = False) -> Listing:
        """Return a listing that is no older than the period; ``fresh``: one that has not begun before this call.

        All who call while one is under way share the next one, so a hundred fresh ones at once are two questions.

        Raises:
            Unavailable, Unparseable: see :meth:`Transport.jobs`.
        """
        called_s = time.monotonic()
        with self._lock:
            is_old = self._began_s <= called_s if fresh else time.monotonic() - self._answered_s >= self._period_s
            if is_old:
                self._began_s, began_at_s = time.monotonic(), time.time()
                try:
                    self._answer = listing_of(self._transport.jobs(), self._instance, began_at_s)
                except BackendError as error:
                    self._answer = error
                self._answered_s = time.monotonic()
            if isinstance(self._answer, BackendError):
                raise self._answer
            return self._answer
