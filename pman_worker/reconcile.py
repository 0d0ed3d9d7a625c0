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
"""

import logging
from itertools import islice

from pman_core.backend import Observed, Owned
from pman_core.errors import Unavailable
from pman_core.job import JobRecord, JobSpec
from pman_core.queues import Task
from pman_core.states import TERMINAL, WAITING
from pman_core.store.protocol import Adopted, Obligation
from pman_worker import lifecycle
from pman_worker.context import Context
from pman_worker.sightings import Sightings

log = logging.getLogger(__name__)

DUE_MAX = 500
OBLIGATIONS_MAX = 100
EXPIRE_MAX = 200
SWEEP_PAGE = 500
REQUEUE_MAX_S = 600.0


def enqueue_due(ctx: Context) -> int:
    """Enqueue again what waits and is due, each with doubled distance: a long queue is not filled with repeats."""
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


def fulfil_obligations(ctx: Context, tries: dict[Obligation, int]) -> int:
    """Remove what is due to be removed; a job on another host is handed to that host. Returns how many are settled."""
    due = ctx.store.obligations(ctx.backend_name, OBLIGATIONS_MAX)
    settled = 0
    for obligation in due:
        if obligation.host and obligation.host != ctx.host:
            ctx.publisher.publish(Task.DELETE, obligation.jid, obligation.generation, host=obligation.host)
            ctx.store.postpone(ctx.backend_name, obligation, lifecycle.BACKOFF_MAX_S)
        elif lifecycle.remove(ctx, obligation, tries.get(obligation, 0)):
            tries.pop(obligation, None)
            settled += 1
        else:
            tries[obligation] = tries.get(obligation, 0) + 1
    return settled


def expire(ctx: Context) -> int:
    """Drop terminal records older than the retention, the native object first. Returns how many were dropped."""
    before_ms = ctx.store.now_ms() - round(ctx.settings.retention_hours * 3_600_000)
    expired = 0
    for jid in ctx.store.ended_before(ctx.backend_name, before_ms, EXPIRE_MAX):
        record = ctx.store.read(jid)
        if record is None or not record.is_terminal or (record.host and record.host != ctx.host):
            continue
        if not ctx.settings.remove_jobs or _remove_leftover(ctx, jid, record.generation):
            expired += ctx.store.expire(jid, record.generation)
    return expired


def _remove_leftover(ctx: Context, jid: str, generation: str) -> bool:
    try:
        ctx.backend.remove(jid, generation)
    except Unavailable as error:
        log.info("a leftover stays for the next round: jid=%s generation=%s %s", jid, generation, error)
        return False
    return True


def sweep(ctx: Context, sightings: Sightings) -> None:
    """Compare every native object of this instance with its record; complete, or it raises.

    Raises:
        Unavailable, Unparseable: the listing broke off; what was adopted so far stays.
    """
    objects = ctx.backend.owned()
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
        return record.state in WAITING
    return _adopt(ctx, owned.spec, observed, record) in {Adopted.CREATED, Adopted.TAKEN_OVER, Adopted.KNOWN}


def _adopt(ctx: Context, spec: JobSpec, observed: Observed, record: JobRecord | None) -> Adopted:
    is_terminal = observed.state in TERMINAL
    if record is None and is_terminal and _is_past_retention(ctx, observed):
        if ctx.settings.remove_jobs:
            _remove_leftover(ctx, observed.jid, observed.generation)
        return Adopted.KEPT
    adopted = ctx.store.adopt(spec, ctx.backend_name, observed.handle.host, is_terminal=is_terminal)
    if adopted not in {Adopted.KNOWN, Adopted.KEPT}:
        log.warning("sweep: %s jid=%s generation=%s %s", adopted, spec.jid, spec.generation, observed.state)
    return adopted


def _is_past_retention(ctx: Context, observed: Observed) -> bool:
    if observed.finished_at is None:
        return False
    age_ms = ctx.store.now_ms() - observed.finished_at.timestamp() * 1000
    return age_ms > ctx.settings.retention_hours * 3_600_000
