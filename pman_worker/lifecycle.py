"""What a worker does with one job: submit it, read its log, remove it. Plain functions; Celery is not known here.

Each function may be interrupted at any point, by ``kill -9`` too, and repeated: what is done is found done. Every
crash point and what repairs it is in ``docs/state.md``.
"""

import logging
import random
import secrets

from pman_core.backend import Absent, Handle, JobRef, Observed, Sighting, Unknown
from pman_core.errors import Conflict, ImageMissing, Rejected, Unavailable, WrongHost
from pman_core.job import JobRecord
from pman_core.queues import Task
from pman_core.states import TERMINAL, Reason, State
from pman_core.store.protocol import LOG_BYTES_MAX, Change, Moved, Obligation
from pman_worker.context import Context
from pman_worker.observation import to_change

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
REMOVE_CLAIM_S = 15.0
"""So long a removal that has begun is left alone: its message and the observer would both do it."""
IMAGE_FIRST_S = 30.0
IMAGE_MAX_S = 600.0


def backoff_s(tries: int) -> float:
    """Return the wait before try number ``tries`` + 1: doubled each time, capped, with jitter of one half."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(tries, 16)) * random.uniform(0.5, 1.0)  # noqa: S311


def submit(ctx: Context, jid: str, generation: str) -> Moved:
    """Hand one generation of a job to the scheduler, at most once. Returns how far it came.

    Raises:
        StoreUnavailable, Unparseable, Exception: nothing is concluded; the lease runs out and the observer has the
            job tried again, until the attempts are used up.
    """
    token = secrets.token_hex(8)
    # The native call must be over before the lease is: this is the last moment to begin it.
    begin_until_s = ctx.clock_s() + ctx.settings.submit_lease_s - ctx.backend.submit_timeout_s
    claim = ctx.store.claim(jid, generation, token, ctx.host)
    if claim.moved is Moved.EXHAUSTED:
        return _end_exhausted(ctx, jid, generation)
    if claim.moved is Moved.BLOCKED:
        _look_for_what_blocks(ctx, jid)
    if claim.record is None:
        return claim.moved
    return _submit_claimed(ctx, claim.record, token, begin_until_s)


def _submit_claimed(ctx: Context, record: JobRecord, token: str, begin_until_s: float) -> Moved:
    jid, generation = record.jid, record.generation

    def end(reason: Reason, message: str) -> Moved:
        return _note(ctx, Change(jid, generation, State.FAILED, token=token, reason=reason, message=message))

    spec = record.spec(ctx.store.instance)
    # After an earlier attempt the job may be there: then the backend adopts it before it refuses anything.
    is_first = record.attempts == 1 and record.retries == 0
    refusals = ctx.backend.capabilities.refusals(spec.request) if is_first else ()
    if refusals:
        return end(Reason.REJECTED, "; ".join(map(str, refusals)))
    if ctx.backend.pulls_first and not record.image_at_ms:
        return _wait_for_image(ctx, record, token)
    if ctx.clock_s() > begin_until_s:
        log.warning("slept through the submit lease, nothing submitted: jid=%s", jid)
        return Moved.STALE
    try:
        handle = ctx.backend.submit(spec)
    except Rejected as error:
        return end(error.reason, str(error))
    except Conflict as error:
        return end(Reason.CONFLICT, str(error))
    except ImageMissing:
        return _wait_for_image(ctx, record, token)
    except Unavailable as error:
        delay_s = backoff_s(record.retries)
        message = f"the scheduler is not available, next attempt in {delay_s:.0f} s: {error}"
        log.warning("submit put off: jid=%s %s", jid, message)
        return _note(
            ctx, Change(jid, generation, State.QUEUED, token=token, delay_s=delay_s, uncounted=True, message=message)
        )
    return _note(
        ctx,
        Change(jid, generation, State.PENDING, token=token, handle_json=handle.to_json(), host=handle.host, message=""),
    )


def _note(ctx: Context, change: Change) -> Moved:
    """Write down how the submit ended. Of a job deleted meanwhile, return the lease and remove what was made.

    Whatever the end: behind a lease that is not returned a new job of the jid waits for the whole fence.
    """
    jid, generation = change.jid, change.generation
    moved = ctx.store.advance(change)
    if moved in {Moved.NO_RECORD, Moved.OTHER_GENERATION} and ctx.store.release(jid, generation):
        log.info("deleted while it was submitted: jid=%s generation=%s", jid, generation)
        remove(ctx, Obligation(jid, generation, change.host or ctx.host))
    return moved


def _wait_for_image(ctx: Context, record: JobRecord, token: str) -> Moved:
    """Give the job back until its image is there, and ask for a pull.

    A pull that is under way puts the next attempt off (:mod:`pman_worker.pulls`). Until it begins the job asks again,
    ever more seldom: its message may be lost, or may wait behind other images.

    An attempt that missed the image costs nothing, unless it was pulled just for it: pull and submit would go on in a
    circle for ever, if what is pulled is not what is missed.
    """
    is_in_vain = record.image_at_ms > 0
    if is_in_vain and record.attempts >= ctx.settings.submit_attempts_max:
        message = f"the image {record.image} was pulled, and the scheduler misses it all the same"
        return _note(
            ctx,
            Change(record.jid, record.generation, State.FAILED, token=token, reason=Reason.IMAGE_PULL, message=message),
        )
    delay_s = min(IMAGE_MAX_S, IMAGE_FIRST_S * 2.0 ** min(record.retries, 16))
    change = Change(
        record.jid, record.generation, State.QUEUED, token=token, delay_s=delay_s, uncounted=not is_in_vain,
        image_missing=True, message=f"waiting for the image {record.image}",
    )  # fmt: skip
    moved = ctx.store.advance(change)
    if moved is Moved.OK:
        ctx.publisher.publish(Task.PULL, record.jid, record.generation)
    else:
        # Deleted meanwhile: nothing was made, so its removal need not wait for the end of the lease.
        ctx.store.release(record.jid, record.generation)
    return moved


def _end_exhausted(ctx: Context, jid: str, generation: str) -> Moved:
    """The allowed attempts were begun and none came back: look first, then give up."""
    record = ctx.store.get(jid)
    if record is None or record.generation != generation:
        return Moved.NO_RECORD
    now_ms = ctx.store.now_ms()
    sighting = ctx.backend.observe([JobRef(jid, generation)])[jid, generation]
    if isinstance(sighting, Observed) and sighting.state is not State.QUEUED:
        return ctx.store.advance(to_change(sighting))
    is_fenced = now_ms < record.lease_until_ms + ctx.settings.submit_fence_s * 1000
    if is_fenced or isinstance(sighting, Unknown):
        return Moved.EXHAUSTED
    if isinstance(sighting, Observed):
        ctx.backend.end(jid, generation)  # made and never started: nobody is to bring it on after this
    message = f"given up: {record.attempts} attempts to submit the job have begun and none has ended"
    log.error("%s: jid=%s generation=%s", message, jid, generation)
    return ctx.store.advance(Change(jid, generation, State.FAILED, reason=Reason.POISON, message=message))


def refresh(ctx: Context, jid: str, generation: str) -> bool:
    """Read the log of a running job into its record. Returns whether it was written."""
    record = ctx.store.get(jid)
    if record is None or record.generation != generation or record.state is not State.RUNNING:
        return False
    try:
        logs = ctx.backend.logs(ref_of(record), ctx.settings.job_logs_tail, LOG_BYTES_MAX)
    except Unavailable as error:
        log.info("live log not readable: jid=%s %s", jid, error)
        return False
    # An empty one may be that of a native object that has just gone: it takes no other's place.
    return bool(logs) and ctx.store.fill_logs(jid, generation, logs, only_running=True)


def remove(ctx: Context, obligation: Obligation, tries: int = 0) -> bool:
    """End a deleted (or lost) job, remove its native object, and verify that it is gone.

    Returns whether it is settled; if not, the observer comes back to it.
    """
    jid, generation = obligation.jid, obligation.generation
    ctx.store.postpone(ctx.backend_name, obligation, REMOVE_CLAIM_S)
    standing = ctx.store.standing(jid, generation)
    keep_object = standing.is_fenced or not ctx.settings.remove_jobs
    sighting: Sighting
    try:
        if not keep_object and ctx.backend.remove(jid, generation):
            sighting = Absent()
        else:
            if keep_object:
                ctx.backend.end(jid, generation)
            sighting = ctx.backend.observe([JobRef(jid, generation)])[jid, generation]
    except WrongHost as error:
        ctx.publisher.publish(Task.DELETE, jid, generation, host=error.host)
        ctx.store.postpone(ctx.backend_name, obligation, BACKOFF_MAX_S)
        return False
    except Unavailable as error:
        log.warning("not removed yet: jid=%s generation=%s %s", jid, generation, error)
        ctx.store.postpone(ctx.backend_name, obligation, backoff_s(tries))
        return False
    # Behind a fence nothing but an ended object stops the submitter that may be asleep: no object is not enough.
    is_gone = isinstance(sighting, Absent) and not standing.is_fenced
    is_ended = keep_object and isinstance(sighting, Observed) and sighting.state in TERMINAL
    is_settled = (is_gone or is_ended) and not standing.is_leased and ctx.store.settle(ctx.backend_name, obligation)
    if not is_settled:
        ctx.store.postpone(ctx.backend_name, obligation, backoff_s(tries))
        return False
    _wake_successor(ctx, jid)
    return True


def _look_for_what_blocks(ctx: Context, jid: str) -> None:
    """Settle the earlier generations that are gone by themselves: of some nobody else has to remove anything."""
    for generation in ctx.store.unsettled(jid):
        if ctx.store.standing(jid, generation).is_fenced:
            continue
        sighting = ctx.backend.observe([JobRef(jid, generation)])[jid, generation]
        if isinstance(sighting, Absent) and ctx.store.settle(ctx.backend_name, Obligation(jid, generation)):
            _wake_successor(ctx, jid)


def _wake_successor(ctx: Context, jid: str) -> None:
    """A new job of the same jid may have waited for this removal."""
    record = ctx.store.read(jid)
    if record is not None and record.state is State.QUEUED:
        ctx.publisher.publish(Task.SUBMIT, jid, record.generation)


def ref_of(record: JobRecord) -> JobRef:
    """Return how to ask the backend for the job of ``record``."""
    handle = Handle.from_json(record.handle_json) if record.handle_json else None
    return JobRef(record.jid, record.generation, handle)
