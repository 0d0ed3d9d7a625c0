"""The engine's event stream as short waits: a thread reads it, the caller takes what has come.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemEvents
"""

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import requests
import urllib3

from backends._engine.client import Client
from backends._engine.labels import of_instance
from pman_core.errors import Unavailable

Event = Mapping[str, Any]
SIGN_OF_LIFE_S = 0.5


def to_cursor(time_ns: int) -> str:
    return str(time_ns)


def from_cursor(cursor: str) -> int:
    """Return the nanoseconds since the epoch.

    Raises:
        Unavailable: it is not a cursor of an engine.
    """
    if not cursor.isdecimal():
        raise Unavailable(f"not a cursor of this engine: {cursor!r}")
    return int(cursor)


class EventStream:
    """The container events of one instance since a time; silence is reported as ``None``, and resumed if it lasts."""

    def __init__(self, client: Client, instance: str, since_ns: int) -> None:
        self._client = client
        self._filters = {"type": ["container"], **of_instance(instance)}
        self.since_ns = since_ns
        self._arrived: queue.Queue[Event | Exception | None] = queue.Queue()
        self._response: Any = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="engine-events", daemon=True)

    def __enter__(self) -> "EventStream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        if self._response is not None:
            with suppress(Exception):  # it is only to be rid of it
                self._response.close()

    def events(self, stop: threading.Event) -> Iterator[Event | None]:
        """Yield events, and ``None`` after every ``SIGN_OF_LIFE_S`` without one, until ``stop``.

        Raises:
            Unavailable: the stream broke.
        """
        while not stop.is_set():
            try:
                item = self._arrived.get(timeout=SIGN_OF_LIFE_S)
            except queue.Empty:
                yield None
                continue
            if item is None:
                raise Unavailable("the event stream has ended")
            if isinstance(item, Exception):
                raise Unavailable(f"the event stream broke: {type(item).__name__}: {item}") from item
            self.since_ns = max(self.since_ns, int(item["timeNano"]) + 1)
            yield item

    def _read(self) -> None:
        since_ns = self.since_ns
        try:
            while not self._is_closed.is_set():
                since = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
                # Nanoseconds are in no signature, but in the API.
                self._response = self._client.events(since=since, filters=self._filters, decode=True)  # type: ignore[call-overload]
                try:
                    for event in self._response:
                        since_ns = max(since_ns, int(event["timeNano"]) + 1)
                        self._arrived.put(event)
                    break
                except (urllib3.exceptions.ReadTimeoutError, requests.Timeout):
                    continue  # silent for long: a quiet engine, or one that hangs, which the next question shows
            self._arrived.put(None)
        except Exception as error:  # noqa: BLE001 - it is handed on, and raised where somebody sees it
            self._arrived.put(error)
