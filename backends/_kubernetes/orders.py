"""Gives orders to the cluster beside those who look at jobs, so that none of them waits for an answer.

An order changes something, and a webhook that is asked about every change may be slow, or never answer: then it takes
its whole time-out. Of a hundred jobs that are to be ended at once each would cost an observer so much, one after the
other, and meanwhile it would tell nobody of any change. So threads of their own give the orders: few, which is all that
the API server has to bear, however many jobs wait.

Turns are fair: first come, first served, and of one name (a job's generation, a pod's name) one order at most waits or
is under way. One that was in vain is given anew by whoever looks next, and comes behind all others.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

AT_ONCE_MAX = 4
"""So many orders may hang before the others have to wait for their time-outs."""

Order = Callable[[], object]


class Orders:
    """Those of one backend; its methods may be called from any thread. A thread ends when nothing waits any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, Order]] = deque()
        self._given: set[str] = set()
        """Names whose order waits or is under way."""
        self._threads = 0

    def give(self, name: str, order: Order) -> None:
        """Have ``order`` called soon, unless there is one of this name already."""
        with self._lock:
            if name in self._given:
                return
            self._given.add(name)
            self._waiting.append((name, order))
            if self._threads == AT_ONCE_MAX:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="orders", daemon=True).start()
        except RuntimeError as error:  # the host has no more to give just now
            log.warning("an order has no thread: %s %s", name, error)
            with self._lock:
                self._threads -= 1
                self._given.discard(name)
                self._waiting = deque(one for one in self._waiting if one[0] != name)

    def forget(self) -> None:
        """Leave out all that wait; what is under way ends within its time-out."""
        with self._lock:
            self._given -= {name for name, _ in self._waiting}
            self._waiting.clear()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                name, order = self._waiting.popleft()
            try:
                order()
            except Exception:
                log.exception("an order has failed: %s", name)
            finally:
                with self._lock:
                    self._given.discard(name)
