"""The observer process: one leader per backend (per host, where jobs are bound to hosts) keeps the records fresh.

List, then watch from the point before the listing; without an event stream, one bulk question per period. A failed
round changes nothing and ends nothing: the loop goes on with back-off.
"""

import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable

from pman_core.errors import BackendError, InvalidSettings, Rejected, StoreUnavailable, Unparseable
from pman_core.logs import configure_logging
from pman_core.settings import load_settings
from pman_worker import reconcile
from pman_worker.context import Context, make_context
from pman_worker.heartbeat import Heartbeat
from pman_worker.leader import Leader
from pman_worker.lifecycle import backoff_s
from pman_worker.overdue import Overdue
from pman_worker.sightings import Sightings
from pman_worker.watcher import Watcher

log = logging.getLogger(__name__)

TICK_S = 0.2
EVENTS_PER_TICK = 2000
DUE_EVERY_S = 1.0
SWEEP_EVERY_S = 60.0
STREAM_STEADY_S = 10.0
"""A stream that lives shorter is begun anew ever more seldom: each beginning lists everything."""


class Every:
    """True once per period."""

    def __init__(self, period_s: float, clock_s: Callable[[], float]) -> None:
        self._period_s = period_s
        self._clock_s = clock_s
        self._next_s = 0.0

    def __call__(self) -> bool:
        if self._clock_s() < self._next_s:
            return False
        self._next_s = self._clock_s() + self._period_s
        return True


class Observer:
    """One observer. ``tick`` is one round and is all that tests need; ``run`` repeats it."""

    def __init__(self, ctx: Context, leader: Leader, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ctx = ctx
        self._leader = leader
        self._clock_s = clock_s
        self._sightings = Sightings(ctx, leader, clock_s)
        self._watcher: Watcher | None = None
        self._watch_began_s = self._watch_due_s = -math.inf
        self._short_streams = 0
        self._removals = reconcile.Removals(ctx, clock_s)
        self._overdue = Overdue(ctx, clock_s)
        self._heartbeat = Heartbeat(ctx.settings.heartbeat_file)
        self._had_epoch = False
        self._wiped_at_s: float | None = None
        watches = ctx.backend.capabilities.watches
        self._poll_due = Every(ctx.settings.reconcile_s if watches else ctx.backend.poll_s, clock_s)
        self._due_due = Every(DUE_EVERY_S, clock_s)
        self._reconcile_due = Every(ctx.settings.reconcile_s, clock_s)
        self._sweep_due = Every(SWEEP_EVERY_S, clock_s)

    def tick(self, wait_s: float = 0.0) -> int:
        """Do one round of what is due; wait up to ``wait_s`` for events. Returns how many parts of it failed.

        The parts do not depend on each other: a scheduler that cannot be listed keeps nothing from being enqueued.
        """
        self._sightings.begin_round()
        failures = self._try(self._ensure_epoch) + self._try(self._ensure_watch)
        if self._poll_due():
            failures += self._try(self._sightings.poll)
        if self._watcher is not None:
            failures += self._try(self._take_events, wait_s)
        if self._due_due():
            failures += self._try(reconcile.enqueue_due, self._ctx)
            failures += self._try(self._removals.fulfil)
            failures += self._try(self._sightings.follow_up)
            failures += self._try(self._end_overdue)
        if self._reconcile_due():
            failures += self._try(self._ctx.publish_report)
            failures += self._try(self._removals.expire)
        if self._sweep_due():
            self._removals.retry_stuck()
            failures += self._try(reconcile.sweep, self._ctx, self._sightings)
        return failures

    def _try(self, part: Callable[..., object], *args: object) -> int:
        """Run one part of a round; a failure is logged and concludes nothing. Returns 1 if it failed."""
        try:
            part(*args)
        except (StoreUnavailable, BackendError) as error:
            raw = error.raw if isinstance(error, Unparseable) else ""
            log.warning("observer: %s broke off: %s: %s %s", part.__name__, type(error).__name__, error, raw)
        except Exception:
            log.exception("observer: %s failed", part.__name__)
        else:
            return 0
        return 1

    def _take_events(self, wait_s: float) -> None:
        if self._watcher is not None:
            self._sightings.apply_events(self._watcher.take(EVENTS_PER_TICK, wait_s))

    def _end_overdue(self) -> None:
        self._overdue.end(self._sightings.started())

    def _ensure_epoch(self) -> None:
        """After a wipe of the store: no submit before one complete sweep, and that not before old submits are over."""
        store, name = self._ctx.store, self._ctx.backend_name
        if store.epoch(name):
            self._had_epoch, self._wiped_at_s = True, None
            return
        if self._had_epoch:
            self._wiped_at_s = self._wiped_at_s or self._clock_s()
            if self._clock_s() - self._wiped_at_s < self._ctx.settings.submit_lease_s:
                return
        reconcile.sweep(self._ctx, self._sightings)
        store.begin_epoch(name)
        log.info("complete sweep done: submits of %s may begin", name)

    def _remember_epoch(self) -> None:
        """Whoever stands by must know a wipe from a first start, too: it may lead the moment after."""
        self._had_epoch = self._had_epoch or self._ctx.store.epoch(self._ctx.backend_name)

    def _ensure_watch(self) -> None:
        if not self._ctx.backend.capabilities.watches or (self._watcher and not self._watcher.is_broken):
            return
        now_s = self._clock_s()
        if now_s < self._watch_due_s:
            return
        is_short = self._watcher is not None and now_s - self._watch_began_s < STREAM_STEADY_S
        self._short_streams = self._short_streams + 1 if is_short else 0
        self._watch_began_s = now_s
        self._watch_due_s = now_s + (min(backoff_s(self._short_streams - 1), 5.0) if is_short else 0.0)
        cursor = self._ctx.backend.cursor()
        self._sightings.poll()
        self._watcher = Watcher(self._ctx.backend, cursor)
        self._watcher.start()

    def stand_down(self) -> None:
        """Forget what only a leader may know."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None
        self._sightings = Sightings(self._ctx, self._leader, self._clock_s)

    def run(self, stop: threading.Event) -> None:
        """Tick while leading, stand by while not, until ``stop``; no failure ends it."""
        failures = 0
        while not stop.is_set():
            if not self._leader.leads():
                self.stand_down()
                self._try(self._remember_epoch)
                self._beat()
                stop.wait(TICK_S)
                continue
            failures = failures + 1 if self.tick(wait_s=TICK_S) else 0
            self._beat()
            if failures:
                stop.wait(min(backoff_s(failures - 1), 5.0))
            elif self._watcher is None:
                stop.wait(min(TICK_S, self._ctx.backend.poll_s))
        self.stand_down()

    def _beat(self) -> None:
        """Say that this round was made, unless the store has not been heard of for a while."""
        if self._leader.hears():
            self._heartbeat.beat()


def open_patiently(ctx: Context, stop: threading.Event) -> None:
    """Open the backend; while it is unavailable, say so in the store and try again.

    Raises:
        Rejected: this machine can never run the backend.
    """
    failures = 0
    while not stop.is_set():
        try:
            ctx.backend.open()
            ctx.publish_report()
        except Rejected:
            raise
        except (BackendError, StoreUnavailable) as error:
            log.warning("not ready yet: %s: %s", type(error).__name__, error)
            stop.wait(min(backoff_s(failures), 10.0))
            failures += 1
        else:
            return


def main() -> int:
    """Run an observer until SIGTERM or SIGINT."""
    try:
        settings = load_settings()
        configure_logging(settings)
        ctx = make_context(settings)
    except (InvalidSettings, ImportError) as error:
        sys.stderr.write(f"the observer cannot start: {error}\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    scope = f"{ctx.backend_name}:{ctx.host}" if ctx.host else ctx.backend_name
    leader = Leader(ctx.store, scope, settings.observer_lease_s)
    keeper = threading.Thread(target=leader.keep, args=(stop,), name="leader")
    Heartbeat(settings.heartbeat_file).begin()
    try:
        open_patiently(ctx, stop)
    except Rejected as error:
        sys.stderr.write(f"the observer cannot start: {error}\n")
        return 2
    keeper.start()
    Observer(ctx, leader).run(stop)
    keeper.join()
    ctx.backend.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
