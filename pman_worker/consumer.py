"""A Celery consumer that sends its monitoring events in bundles.

The stock consumer publishes after every turn of its loop, which for short tasks is a Redis command for each event and
more than a third of the loop's time. Flower need not know it sooner than a person can look.
"""

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as StockConsumer

BUNDLE_S = 0.1


class Consumer(StockConsumer):
    """Flushes the buffered events ``BUNDLE_S`` after the first of them (or when the buffer is full)."""

    _is_flush_due = False
    # What the published types of Celery leave out.
    hub: Any
    _flush_events: Callable[[], None]

    def on_send_event_buffered(self) -> None:  # type: ignore[override]
        """Called by the threads of the pool, for every event."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self.hub.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        # Only the loop's own thread may touch its timer.
        self.hub.call_later(BUNDLE_S, self._flush_bundle)

    def _flush_bundle(self) -> None:
        self._is_flush_due = False
        self._flush_events()
