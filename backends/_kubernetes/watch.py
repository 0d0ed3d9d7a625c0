"""Two watches as one stream of short waits: a thread reads each of them, the caller takes what has come.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import urllib3

from backends._kubernetes.connection import Api
from backends._kubernetes.errors import Doing, explain
from backends._kubernetes.identity import Object
from pman_core.errors import BackendError, Unavailable

SIGN_OF_LIFE_S = 0.5
WATCH_S = 60
"""The server ends a watch after that, and it is resumed."""
SILENCE_S = WATCH_S + 15.0
"""A server that has not ended it by then is not there any more."""
PAUSE_S = 0.2
"""A server that ends every watch at once must not be asked in a tight loop."""

Event = tuple[str, str, Object]
"""``jobs`` or ``pods``; ADDED, MODIFIED, DELETED or BOOKMARK; the object."""


class Streams:
    """The changes of several kinds of objects since their resource versions, each kind in its own order."""

    def __init__(self, api: Api, selector: str, paths: Mapping[str, str], versions: Mapping[str, str]) -> None:
        self._api = api
        self._selector = selector
        self._arrived: queue.Queue[Event | Exception] = queue.Queue()
        self._is_closed = threading.Event()
        self._responses: dict[str, urllib3.BaseHTTPResponse] = {}
        self._threads = [
            threading.Thread(target=self._read, args=(kind, path, versions[kind]), name=f"watch-{kind}", daemon=True)
            for kind, path in paths.items()
        ]

    def __enter__(self) -> "Streams":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        for response in list(self._responses.values()):
            with suppress(Exception):  # it is only to be rid of it
                response.shutdown()
        for thread in self._threads:
            thread.join(2 * SIGN_OF_LIFE_S)

    def take(self) -> Event | None:
        """Return the next event, or ``None`` after ``SIGN_OF_LIFE_S`` without one.

        Raises:
            Unavailable: a watch broke, or its place is too old (410): list again.
        """
        try:
            item = self._arrived.get(timeout=SIGN_OF_LIFE_S)
        except queue.Empty:
            return None
        if isinstance(item, BackendError):
            raise item
        if isinstance(item, Exception):
            raise Unavailable(f"a watch broke: {type(item).__name__}: {item}") from item
        return item

    def _read(self, kind: str, path: str, version: str) -> None:
        try:
            while not self._is_closed.is_set():
                query = {
                    "watch": "1",
                    "allowWatchBookmarks": "true",
                    "timeoutSeconds": str(WATCH_S),
                    "labelSelector": self._selector,
                    "resourceVersion": version,
                }
                with self._api.stream(path, query, SILENCE_S) as response:
                    self._responses[kind] = response
                    if self._is_closed.is_set():  # too early for this response to be shut down
                        return
                    for change, item in _events(response):
                        version = str(item["metadata"]["resourceVersion"])
                        self._arrived.put((kind, change, item))
                self._is_closed.wait(PAUSE_S)
        except Exception as error:  # noqa: BLE001 - it is handed on, and raised where somebody sees it
            self._arrived.put(error)


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of one watch, one JSON object a line.

    Raises:
        BackendError: the server itself has ended it with an error.
    """
    buffer = b""
    for chunk in response.stream(65536, decode_content=True):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in filter(None, lines):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                raise explain(Doing.ASK, int(status.get("code") or 500), json.dumps(status).encode())
            yield event["type"], event["object"]
