"""Fetching an image, once for all jobs that wait for it. Celery is not known here.

While the holder of the pull's lease lives, it renews it, tells every waiting record how far it is, and puts off their
next attempts; if it dies, they are due when its lease is out, and a submit finds the image still missing and asks anew.
"""

import contextlib
import logging
import secrets
import threading
from collections.abc import Iterator, Sequence

from pman_core.errors import RegistryAway, Rejected, StoreUnavailable, Unavailable
from pman_core.queues import Task
from pman_core.states import Reason, State
from pman_core.store.protocol import Change, Moved
from pman_core.store.pulls import Joined, Pull, Waiter
from pman_worker.context import Context
from pman_worker.lifecycle import backoff_s

log = logging.getLogger(__name__)

LEASE_S = 30.0
TELL_EVERY_S = 1.0


class GivenUp(Exception):
    """Nobody waits for the image any more, or this worker is to end."""


class Voice:
    """Speaks for one pull: takes the backend's words at any time, and passes the last of them on once per period."""

    def __init__(self, ctx: Context, pull: Pull, stop: threading.Event) -> None:
        self._ctx = ctx
        self._pull = pull
        self._stop = stop
        self._text = ""
        self._is_lost = self._is_unwanted = False

    def __call__(self, text: str) -> None:
        """What the backend calls ``tell``."""
        self._text = text
        if self._is_unwanted:
            raise GivenUp("nobody waits for it any more")
        if self._stop.is_set():
            raise GivenUp("this worker is to end")

    def beat(self) -> Sequence[Waiter]:
        """Renew the lease and tell; returns who waits. Nobody does if the lease is lost: they listen to another."""
        waiters = None if self._is_lost else self._ctx.store.tell_pull(self._pull, self._text, LEASE_S)
        if waiters is None:
            if not self._is_lost:
                log.warning("the pull has lost its lease, another goes on: image=%s", self._pull.image)
            self._is_lost = True
            return ()
        self._is_unwanted = not waiters
        return waiters

    def _speak(self, over: threading.Event) -> None:
        while not over.wait(TELL_EVERY_S):
            try:
                self.beat()
            except StoreUnavailable as error:
                log.warning("the pull cannot tell how far it is: image=%s %s", self._pull.image, error)
            except Exception:
                log.exception("the pull cannot tell how far it is: image=%s", self._pull.image)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Beat, however silent the backend is; a thread of its own, as the backend may be inside one long call."""
        over = threading.Event()
        thread = threading.Thread(target=self._speak, args=(over,), name="pull-voice", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def pull(ctx: Context, jid: str, generation: str, stop: threading.Event | None = None) -> Joined:
    """Fetch the image that one generation of a job waits for, unless another does so already.

    ``stop`` gives the pull up, as soon as the backend speaks again; those who wait are due at once.

    Raises:
        StoreUnavailable, Exception: nothing is concluded; whoever waits is due again by itself.
    """
    record = ctx.store.get(jid)
    if record is None or record.generation != generation:
        return Joined.GONE
    one = Pull(ctx.backend_name, record.image, secrets.token_hex(8))
    joined = ctx.store.join_pull(one, jid, generation, LEASE_S)
    if joined is Joined.READY:
        ctx.publisher.publish(Task.SUBMIT, jid, generation)
    if joined is Joined.HOLDS:
        _fetch(ctx, one, record.retries, Voice(ctx, one, stop or threading.Event()))
    return joined


def _fetch(ctx: Context, pull: Pull, tries: int, voice: Voice) -> None:
    log.info("pulling: image=%s", pull.image)
    try:
        with voice.speaking():
            ctx.backend.pull(pull.image, voice)
    except GivenUp as error:
        log.info("pull given up: image=%s %s", pull.image, error)
        ctx.store.end_pull(pull, fetched=False)
    except Rejected as error:
        log.warning("image not pulled: image=%s %s", pull.image, error)
        _fail_all(ctx, pull, voice, error)
    except RegistryAway as error:
        _fail_the_late(ctx, pull, voice, error)
        _put_off(ctx, pull, tries, error)
    except Unavailable as error:
        _put_off(ctx, pull, tries, error)
    except Exception as error:
        message = f"the pull of the image broke off: {type(error).__name__}: {error}"
        ctx.store.end_pull(pull, fetched=False, delay_s=LEASE_S, message=message)
        raise
    else:
        waiters = ctx.store.end_pull(pull, fetched=True)
        log.info("pulled: image=%s, %d job(s) have waited", pull.image, len(waiters))
        for waiter in waiters:
            ctx.publisher.publish(Task.SUBMIT, waiter.jid, waiter.generation)


def _put_off(ctx: Context, pull: Pull, tries: int, error: Unavailable) -> None:
    delay_s = backoff_s(tries)
    message = f"the image cannot be pulled now, next attempt in {delay_s:.0f} s: {error}"
    log.warning("pull put off: image=%s %s", pull.image, message)
    ctx.store.end_pull(pull, fetched=False, delay_s=delay_s, message=message)


def _fail_the_late(ctx: Context, pull: Pull, voice: Voice, error: RegistryAway) -> None:
    """End those whose time for waiting is over; the others may be luckier."""
    waiters = voice.beat()
    records = ctx.store.get_many([waiter.jid for waiter in waiters])
    before_ms = ctx.store.now_ms() - ctx.backend.pull_timeout_s * 1000
    late = [
        waiter
        for waiter, record in zip(waiters, records, strict=True)
        if record is not None and record.generation == waiter.generation and record.created_at_ms < before_ms
    ]
    if late:
        _fail(ctx, pull, late, Reason.IMAGE_PULL, f"given up after {ctx.backend.pull_timeout_s:g} s: {error}")


def _fail_all(ctx: Context, pull: Pull, voice: Voice, error: Rejected) -> None:
    _fail(ctx, pull, voice.beat(), error.reason, str(error))
    # Whoever has joined since the beat asks for itself.
    ctx.store.end_pull(pull, fetched=False)


def _fail(ctx: Context, pull: Pull, waiters: Sequence[Waiter], reason: Reason, message: str) -> None:
    """End these. Each is asked again whether it waits, and whether the lease is ours: we may have slept."""
    changes = [Change(*waiter, State.FAILED, reason=reason, message=message, pull=pull.token) for waiter in waiters]
    failed = ctx.store.advance_many(changes).count(Moved.OK)
    log.warning("failed for want of their image: image=%s, %d job(s)", pull.image, failed)
