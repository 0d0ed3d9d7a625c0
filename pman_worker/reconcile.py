"""Closing every gap: what is due is enqueued again, what was deleted is removed, what was forgotten is found.

What becomes of a record, by its state and by what a sweep or a listing shows of its native object:

============  =====================  ==========================  ====================================
record        object seen            object absent               backend cannot be asked
============  =====================  ==========================  ====================================
QUEUED        as observed (adopted)  enqueued when due           enqueued when due
SUBMITTING    as observed (adopted)  enqueued when lease is out  enqueued when lease is out
PENDING       as observed            LOST after several, grace   unchanged
RUNNING       as observed            LOST after several, grace   unchanged
terminal      unchanged              unchanged                   unchanged
tombstone     removed                settled                     tried again
none          adopted                --                          --
============  =====================  ==========================  ====================================

An object that was made and never started (QUEUED) is adopted, and nothing is written of its state: the next submit of
its generation brings it on. Where it only holds another job back, it is removed.
"""

import logging
from collections.abc import Callable
from itertools import islice

from pman_core.backend import Observed, Owned
from pman_core.errors import StoreUnavailable, Unavailable
from pman_core.job import JobRecord, JobSpec
from pman_core.queues import Task
from pman_core.states import TERMINAL, WAITING, State
from pman_core.store.protocol import Adopted, Obligation
from pman_worker import lifecycle
from pman_worker.context import Context
from pman_worker.sightings import Sightings

log = logging.getLogger(__name__)

DUE_MAX = 500
OBLIGATIONS_MAX = 100
EXPIRE_MAX = 200
SWEEP_PAGE = 500
REMOVALS_BUDGET_S = 2.0
"""So long a round removes; a scheduler that hangs must not keep everything else waiting."""
OTHER_HOST_MAX_S = 6 * 3600.0
REQUEUE_MAX_S = 3600.0


def enqueue_due(ctx: Context) -> int:
    """Enqueue again what waits and is due, each with doubled distance.

    As long as the queue holds as many messages as there are jobs waiting, none of them is lost: nothing is repeated.
    """
    if ctx.publisher.backlog(Task.SUBMIT) >= max(1, ctx.store.counts(ctx.backend_name)["waiting"]):
        return 0
    jids = ctx.store.due(ctx.backend_name, DUE_MAX)
    count = 0
    for record in ctx.store.get_many(jids):
        if record is None or record.state not in WAITING:
            continue
        delay_s = min(REQUEUE_MAX_S, ctx.settings.requeue_s * 2.0 ** min(record.enqueues, 16))
        if ctx.store.claim_enqueue(record.jid, record.generation, delay_s):
            ctx.publisher.publish(Task.SUBMIT, record.jid, record.generation)
            count += 1
    return count


class Removals:
    """The obligations of one leader: how often each was tried, and what could not be expired."""

    def __init__(self, ctx: Context, clock_s: Callable[[], float]) -> None:
        self._ctx = ctx
        self._clock_s = clock_s
        self._tries: dict[Obligation, int] = {}
        self._stuck: set[str] = set()

    def fulfil(self) -> int:
        """Remove what is due to be removed, for so long as a round may take. Returns how many are settled."""
        ctx, until_s = self._ctx, self._clock_s() + REMOVALS_BUDGET_S
        settled = 0
        for obligation in ctx.store.obligations(ctx.backend_name, OBLIGATIONS_MAX):
            if self._clock_s() > until_s:
                break
            tries = self._tries[obligation] = self._tries.get(obligation, -1) + 1
            if obligation.host and obligation.host != ctx.host:
                # Ever more seldom: the host may never come back.
                ctx.publisher.publish(Task.DELETE, obligation.jid, obligation.generation, host=obligation.host)
                delay_s = min(OTHER_HOST_MAX_S, lifecycle.BACKOFF_MAX_S * 2.0 ** min(tries, 16))
                ctx.store.postpone(ctx.backend_name, obligation, delay_s)
            elif self._remove(obligation, tries):
                settled += 1
        self._forget_what_is_settled()
        return settled

    def _remove(self, obligation: Obligation, tries: int) -> bool:
        """One removal; whatever is wrong with it, the next one has its turn."""
        try:
            return lifecycle.remove(self._ctx, obligation, tries)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("not removed: jid=%s generation=%s", obligation.jid, obligation.generation)
            self._ctx.store.postpone(self._ctx.backend_name, obligation, lifecycle.backoff_s(tries))
            return False

    def _forget_what_is_settled(self) -> None:
        if len(self._tries) > 2 * OBLIGATIONS_MAX + self._ctx.store.counts(self._ctx.backend_name)["obligations"]:
            self._tries.clear()

    def expire(self) -> int:
        """Drop terminal records older than the retention, the native object first. Returns how many were dropped."""
        ctx, until_s = self._ctx, self._clock_s() + REMOVALS_BUDGET_S
        before_ms = ctx.store.now_ms() - round(ctx.settings.retention_hours * 3_600_000)
        expired = 0
        # What could not be removed stays at the head of the list: look past it.
        for jid in ctx.store.ended_before(ctx.backend_name, before_ms, EXPIRE_MAX + len(self._stuck)):
            record = None if jid in self._stuck else ctx.store.read(jid)
            if record is None or not record.is_terminal:
                continue
            if ctx.settings.remove_jobs and not _remove_leftover(ctx, jid, record.generation):
                self._stuck.add(jid)
                continue
            expired += ctx.store.expire(jid, record.generation)
            if self._clock_s() > until_s:
                break
        return expired

    def retry_stuck(self) -> None:
        """Let the next round try again what could not be removed."""
        self._stuck.clear()


def _remove_leftover(ctx: Context, jid: str, generation: str) -> bool:
    try:
        ctx.backend.remove(jid, generation)
    except Unavailable as error:
        log.info("a leftover stays for a later round: jid=%s generation=%s %s", jid, generation, error)
    except Exception:
        log.exception("a leftover cannot be removed: jid=%s generation=%s", jid, generation)
    else:
        return True
    return False


def sweep(ctx: Context, sightings: Sightings) -> None:
    """Compare every native object of this instance with its record; complete, or it raises.

    Raises:
        Unavailable, Unparseable: the listing broke off; what was adopted so far stays.
    """
    # The newest generation of a jid first: an older one that is still there must not pass for the job of today.
    objects = iter(sorted(ctx.backend.owned(), key=lambda owned: owned.observed.generation, reverse=True))
    while page := list(islice(objects, SWEEP_PAGE)):
        records = ctx.store.get_many([owned.observed.jid for owned in page])
        for owned, record in zip(page, records, strict=True):
            if _is_news(ctx, owned, record):
                # At once: the next object may be another one of the same jid.
                sightings.apply([owned.observed])


def _is_news(ctx: Context, owned: Owned, record: JobRecord | None) -> bool:
    """Adopt what has no record of its generation; return whether the object is to be written down as observed."""
    observed = owned.observed
    if owned.spec is None:
        log.error("an object with an unreadable spec: jid=%s generation=%s", observed.jid, observed.generation)
        return False
    if record is not None and record.generation == observed.generation:
        return not record.is_terminal
    return _adopt(ctx, owned.spec, observed) in {Adopted.CREATED, Adopted.TAKEN_OVER, Adopted.KNOWN}


def _adopt(ctx: Context, spec: JobSpec, observed: Observed) -> Adopted:
    is_terminal = observed.state in TERMINAL
    if is_terminal and _is_past_retention(ctx, observed):
        if ctx.settings.remove_jobs:
            _remove_leftover(ctx, observed.jid, observed.generation)
        return Adopted.KEPT
    adopted = ctx.store.adopt(spec, ctx.backend_name, observed.handle.host, is_terminal=is_terminal)
    if adopted not in {Adopted.KNOWN, Adopted.KEPT}:
        log.warning("sweep: %s jid=%s generation=%s %s", adopted, spec.jid, spec.generation, observed.state)
    if adopted is Adopted.HOLDS_BACK and observed.state is State.QUEUED:
        # It was never started and nobody is to start it any more: there is no end to wait for.
        _remove_unstarted(ctx, Obligation(spec.jid, spec.generation, observed.handle.host))
    return adopted


def _remove_unstarted(ctx: Context, obligation: Obligation) -> None:
    """One removal within a sweep: it holds back its own jid, never the others."""
    try:
        lifecycle.remove(ctx, obligation)
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("not removed: jid=%s generation=%s", obligation.jid, obligation.generation)


def _is_past_retention(ctx: Context, observed: Observed) -> bool:
    if observed.finished_at is None:
        return False
    age_ms = ctx.store.now_ms() - observed.finished_at.timestamp() * 1000
    return age_ms > ctx.settings.retention_hours * 3_600_000
