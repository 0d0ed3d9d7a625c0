"""What the leader knows of the running jobs, and how sightings of them become changes of their records.

A sighting that tells nothing new costs no write. A job is LOST only after several complete listings without it and
a time of grace; a question that failed counts for nothing.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import Unavailable
from pman_core.request import JobRequest
from pman_core.states import TERMINAL, WAITING, State
from pman_core.store.protocol import LOG_BYTES_MAX, Change, Moved
from pman_worker.context import Context
from pman_worker.leader import Leader
from pman_worker.lifecycle import ref_of
from pman_worker.observation import to_change, to_lost
from pman_worker.overdue import Started

log = logging.getLogger(__name__)

LISTINGS_BEFORE_LOST = 3
LOGS_PATIENCE_S = 10.0
"""So long an end waits for its log; then it is told without."""
LOGS_BUDGET_S = 2.0
"""So long a round reads logs; a log server that hangs must not keep the other jobs waiting."""
LOGS_RETRY_S = 300.0
"""So long a log that was missing at the end is still asked for."""
PAGE = 1000
TOLD_ENDS_MAX = 10_000

Told = tuple[str, str, str]


@dataclass(slots=True)
class _Running:
    """The leader's memory of one running job: the ref to ask with, and what was last told of it."""

    ref: JobRef
    told: Told
    started_at_ms: int = 0
    handle_at_ms: int = 0
    time_limit_minutes: int | None = None
    was_absent: bool = False


class Sightings:
    """Turns sightings into changes; holds no truth, only what saves repeated writes."""

    def __init__(self, ctx: Context, leader: Leader, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ctx = ctx
        self._leader = leader
        self._clock_s = clock_s
        self._logs_until_s = 0.0
        self._running: dict[str, _Running] = {}
        self._told_ends: dict[tuple[str, str], None] = {}
        self._ends: dict[tuple[str, str], tuple[Observed, float]] = {}
        self._logless: dict[tuple[str, str], tuple[JobRef, float]] = {}

    def begin_round(self) -> None:
        """Give this round its time for reading logs."""
        self._logs_until_s = self._clock_s() + LOGS_BUDGET_S

    # Asking

    def refs(self) -> list[JobRef]:
        """Return the jobs to ask for: those in PENDING or RUNNING that this host can answer for."""
        jids = self._ctx.store.running(self._ctx.backend_name)
        unknown = [jid for jid in jids if jid not in self._running]
        for start in range(0, len(unknown), PAGE):
            page = unknown[start : start + PAGE]
            for jid, record in zip(page, self._ctx.store.get_many(page), strict=True):
                if record is not None and not record.is_terminal and record.state not in WAITING:
                    told = (record.state.value, record.native_state, record.message)
                    self._running[jid] = _Running(
                        ref_of(record),
                        told,
                        record.started_at_ms,
                        record.handle_at_ms,
                        JobRequest.from_canonical(record.request_json).time_limit_minutes,
                        was_absent=record.absent > 0,
                    )
        current = set(jids)
        for jid in self._running.keys() - current:
            del self._running[jid]
        return [job.ref for job in self._running.values() if self._is_here(job.ref)]

    def started(self) -> list[Started]:
        """Return the running jobs of which it is known when they started.

        Not before they were submitted, by the store's clock: that of a scheduler may be behind.
        """
        return [
            (job.ref.jid, job.ref.generation, max(job.started_at_ms, job.handle_at_ms), job.time_limit_minutes)
            for job in self._running.values()
            if job.started_at_ms and job.told[0] == State.RUNNING
        ]

    def _is_here(self, ref: JobRef) -> bool:
        return ref.handle is None or ref.handle.host == self._ctx.host

    def poll(self) -> None:
        """Ask the backend for all running jobs at once and write down what is new.

        Raises:
            Unavailable, Unparseable: no answer; nothing was concluded.
        """
        refs = self.refs()
        if refs:
            listed_at_ms = self._ctx.store.now_ms()
            sightings = self._ctx.backend.observe(refs)
            self.apply(s for s in sightings.values() if isinstance(s, Observed))
            for ref in refs:
                sighting = sightings[ref.jid, ref.generation]
                # An object that was never started is not the job that was seen to run.
                is_other = isinstance(sighting, Observed) and sighting.state in WAITING
                if isinstance(sighting, Absent) or is_other:
                    self._note_absent(ref, listed_at_ms)

    def follow_up(self) -> None:
        """Come back to the ends that waited for their log, and to the logs that were missing at the end."""
        self.apply([observed for observed, _ in self._ends.values()])
        self._ask_for_missing_logs()

    # Telling

    def apply_events(self, observed: Iterable[Observed]) -> None:
        """:meth:`apply` what a stream tells, but for ends that a listing has told before: their log costs a call.

        Only a stream repeats what is over. A listing or a sweep that shows an end again has a reason, after a wipe.
        """
        self.apply(o for o in observed if (o.jid, o.generation) not in self._told_ends)

    def apply(self, observed: Iterable[Observed]) -> None:
        """Write down what is new in ``observed``, in one round trip."""
        changes = [change for change in map(self._to_news, observed) if change is not None]
        for change, moved in zip(changes, self._ctx.store.advance_many(changes), strict=True):
            self._remember(change, moved)

    def _to_news(self, observed: Observed) -> Change | None:
        if observed.state in WAITING:
            return None  # an interrupted submit: the next one brings it on
        job = self._running.get(observed.jid)
        is_same = job is not None and job.ref.generation == observed.generation
        if is_same and job is not None and job.was_absent:
            self._ctx.store.note_present(observed.jid, observed.generation)
            job.was_absent = False
        if observed.state in TERMINAL:
            return self._to_end(observed)
        told = (observed.state.value, observed.native_state, observed.message)
        return None if is_same and job is not None and job.told == told else to_change(observed)

    def _remember(self, change: Change, moved: Moved) -> None:
        # Another generation has the jid, or nobody: what is remembered of it is not true any more.
        if change.state in TERMINAL or moved in {Moved.NO_RECORD, Moved.OTHER_GENERATION}:
            self._running.pop(change.jid, None)
            if change.state in TERMINAL:
                self._told_ends[change.jid, change.generation] = None
                if len(self._told_ends) > TOLD_ENDS_MAX:
                    del self._told_ends[next(iter(self._told_ends))]
            if moved is Moved.OK:
                log.info("%s: jid=%s generation=%s %s", change.state, change.jid, change.generation, change.message)
            return
        job = self._running.get(change.jid)
        if job is not None and job.ref.generation == change.generation:
            # FORBIDDEN means that the record is further already: not to be told again either.
            job.told = (change.state.value, change.native_state, change.message or "")
            job.started_at_ms = change.started_at_ms or job.started_at_ms

    def _note_absent(self, ref: JobRef, listed_at_ms: int) -> None:
        if ref.jid in self._running:
            self._running[ref.jid].was_absent = True
        count, absent_ms = self._ctx.store.note_absent(
            ref.jid, ref.generation, self._leader.scope, self._leader.token, listed_at_ms
        )
        if count == 0:
            # Not counted: the jid may belong to another generation by now. The next round reads it anew.
            self._running.pop(ref.jid, None)
        if count >= LISTINGS_BEFORE_LOST and absent_ms >= self._ctx.settings.lost_grace_s * 1000:
            change = to_lost(ref.jid, ref.generation, absent_ms)
            self._remember(change, self._ctx.store.advance(change))

    # Ends and their logs

    def _to_end(self, observed: Observed) -> Change | None:
        """Return the terminal change with its log; ``None`` while the log is waited for."""
        key = (observed.jid, observed.generation)
        logs = self._logs_in_time(JobRef(*key, observed.handle))
        if logs is not None:
            self._ends.pop(key, None)
            # What is gone with its native object reads as empty; what was read of it while it ran is kept.
            return to_change(observed, logs or None)
        _, seen_s = self._ends.setdefault(key, (observed, self._clock_s()))
        if self._clock_s() - seen_s < LOGS_PATIENCE_S:
            return None
        log.warning("ended without its log: jid=%s generation=%s", *key)
        self._logless[key] = (JobRef(*key, observed.handle), self._clock_s())
        del self._ends[key]
        return to_change(observed, logs_missing=True)

    def _logs_in_time(self, ref: JobRef) -> str | None:
        """Return the log, or ``None`` if it cannot be read or if reading logs has taken too long in this round."""
        if self._clock_s() > self._logs_until_s:
            return None
        try:
            return self._logs(ref)
        except Unavailable as error:
            log.info("log not readable: jid=%s generation=%s %s", ref.jid, ref.generation, error)
        except Exception:
            log.exception("log not readable: jid=%s generation=%s", ref.jid, ref.generation)
        return None

    def _logs(self, ref: JobRef) -> str:
        return self._ctx.backend.logs(ref, self._ctx.settings.job_logs_tail, LOG_BYTES_MAX)

    def _ask_for_missing_logs(self) -> None:
        for key, (ref, since_s) in list(self._logless.items()):
            logs = self._logs_in_time(ref)
            if logs:
                self._ctx.store.fill_logs(*key, logs)
            elif logs is not None:
                log.info("its log is empty, or gone: jid=%s generation=%s", *key)
            elif self._clock_s() - since_s < LOGS_RETRY_S:
                continue
            else:
                log.warning("the log stays missing: jid=%s generation=%s", *key)
            del self._logless[key]
