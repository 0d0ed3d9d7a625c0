"""Monitoring events leave the worker in bundles, and none is left behind."""

from collections.abc import Callable
from typing import Any

import pytest

from pman_worker.consumer import BUNDLE_S, Consumer


class Hub:
    """Celery's loop: what it shall do soon, and what later."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        assert delay_s == BUNDLE_S
        self.later.append(call)


@pytest.fixture
def consumer() -> Any:
    consumer = Consumer.__new__(Consumer)
    consumer.hub = Hub()
    consumer.flushed = 0

    def flush() -> None:
        consumer.flushed += 1

    consumer._flush_events = flush
    return consumer


def test_many_events_of_a_moment_are_sent_once_and_the_next_ones_again(consumer: Any) -> None:
    for expected in (1, 2):
        for _ in range(5):
            consumer.on_send_event_buffered()
        assert len(consumer.hub.soon) == 1
        consumer.hub.soon.pop()()
        consumer.hub.later.pop()()
        assert consumer.flushed == expected
