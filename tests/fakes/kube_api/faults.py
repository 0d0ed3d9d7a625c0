"""What goes wrong, as a test orders it: each order is for the next calls, or the next lines of a watch, that match.

A call is named by its verb and resource, ``create jobs``, ``get pods/log``, ``watch pods``; a pattern of
:mod:`fnmatch` may name many: ``* jobs``, ``*``.
"""

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.fakes.kube_api.refusals import Refused

FOREVER = 1_000_000_000


@dataclass
class Order:
    """What is to happen ``left`` more times."""

    pattern: str
    left: int
    kind: str
    value: Any = None


@dataclass
class Faults:
    """All orders of a test, and what was asked of the server."""

    asked: list[str] = field(default_factory=list)
    """Every call, by verb and resource, in order."""

    def __post_init__(self) -> None:
        self._orders: list[Order] = []
        self._lock = threading.Lock()
        self._released = threading.Event()

    # Calls

    def refuse(self, pattern: str, refused: Refused, times: int = FOREVER) -> None:
        """Answer with an error. One that a real server has given: ``refusals.recorded(...)``."""
        self._add(pattern, times, "refuse", refused)

    def hang(self, pattern: str, times: int = FOREVER) -> None:
        """Take the call and never answer; see :meth:`release`."""
        self._add(pattern, times, "hang")

    def drop(self, pattern: str, times: int = FOREVER) -> None:
        """Close the connection instead of an answer, before anything is done."""
        self._add(pattern, times, "drop")

    def lose_answer(self, pattern: str, times: int = 1) -> None:
        """Do what is asked and close the connection instead of the answer."""
        self._add(pattern, times, "lose")

    def say(self, pattern: str, body: bytes, times: int = FOREVER) -> None:
        """Answer 200 with these bytes, as a proxy in between may."""
        self._add(pattern, times, "say", body)

    # Lines of a watch

    def cut(self, pattern: str, times: int = 1) -> None:
        """End a watch in the middle of its next line."""
        self._add(pattern, times, "cut")

    def skip(self, pattern: str, times: int = 1) -> None:
        """Leave the next line out."""
        self._add(pattern, times, "skip")

    def repeat(self, pattern: str, times: int = 1) -> None:
        """Send the next line twice."""
        self._add(pattern, times, "repeat")

    def delay(self, pattern: str, delay_s: float, times: int = 1) -> None:
        """Send the next line so much later; the others wait behind it."""
        self._add(pattern, times, "delay", delay_s)

    def insert(self, pattern: str, line: bytes, times: int = 1) -> None:
        """Send a line of one's own before the next one."""
        self._add(pattern, times, "insert", line)

    def interrupt(self, pattern: str, refused: Refused, times: int = 1) -> None:
        """End a watch at once, by a line ERROR with this status."""
        self._add(pattern, times, "interrupt", refused)

    # All of it

    def clear(self) -> None:
        """From here on nothing goes wrong; who hangs goes on hanging until :meth:`release`."""
        with self._lock:
            self._orders.clear()

    def release(self) -> None:
        """Let go of the calls that hang: their connections are closed."""
        self._released.set()

    def count(self, pattern: str) -> int:
        """Return how often such a call was made."""
        with self._lock:
            return sum(fnmatchcase(call, pattern) for call in self.asked)

    # For the server

    def note(self, call: str) -> None:
        with self._lock:
            self.asked.append(call)

    def take(self, call: str, *kinds: str) -> Order | None:
        """Return the first order of these kinds for the call, and count it."""
        with self._lock:
            for order in self._orders:
                if order.kind in kinds and fnmatchcase(call, order.pattern):
                    order.left -= 1
                    if not order.left:
                        self._orders.remove(order)
                    return order
        return None

    def wait(self) -> None:
        """Hang."""
        self._released.wait()

    def sleep(self, delay_s: float) -> None:
        """Wait so long, or until all is released."""
        self._released.wait(delay_s)

    def _add(self, pattern: str, times: int, kind: str, value: Any = None) -> None:
        with self._lock:
            self._orders.append(Order(pattern, times, kind, value))
