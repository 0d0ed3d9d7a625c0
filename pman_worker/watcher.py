"""The backend's event stream, read by a thread into a queue. A stream that ends is reported, never hidden."""

import logging
import queue
import threading
import time

from pman_core.backend import Backend, Observed
from pman_core.errors import Unavailable

log = logging.getLogger(__name__)

GATHER_S = 0.01
"""So long after the first event others may come along: one write for all costs a third of one for each."""
EVENTS_MAX = 100_000
"""More than this unread: the stream is given up, and the next listing tells the rest."""


class Watcher:
    """One stream from one cursor. ``is_broken`` means: list again and start a new one."""

    def __init__(self, backend: Backend, cursor: str) -> None:
        self._backend = backend
        self._cursor = cursor
        self._stop = threading.Event()
        self._events: queue.Queue[Observed] = queue.Queue(EVENTS_MAX)
        self._thread = threading.Thread(target=self._read, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_broken(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Tell the stream to end; a sign of life or the backend's read time-out ends it soon."""
        self._stop.set()

    def take(self, limit: int, wait_s: float) -> list[Observed]:
        """Return what has come, at most ``limit``; wait at most ``wait_s`` for the first, then a moment for others."""
        events: list[Observed] = []
        try:
            events.append(self._events.get(timeout=wait_s))
            if wait_s:
                time.sleep(GATHER_S)
            while len(events) < limit:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return events

    def _read(self) -> None:
        try:
            for event in self._backend.watch(self._cursor, self._stop):
                if self._stop.is_set():
                    return
                if event.observed is not None:
                    self._events.put_nowait(event.observed)
            log.info("the event stream of %s has ended", self._backend.name)
        except Unavailable as error:
            log.warning("the event stream of %s broke: %s", self._backend.name, error)
        except queue.Full:
            log.warning("the event stream of %s is faster than the store: listing instead", self._backend.name)
        except Exception:
            log.exception("the event stream of %s failed", self._backend.name)
