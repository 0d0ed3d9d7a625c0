"""Lets the planned faults happen, each at its time and for its time, and writes down when that really was."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import Random

from tests.faults.evidence import Injected
from tests.faults.kinds import WIPE
from tests.faults.kinds.base import Fault
from tests.faults.plan import Planned
from tests.faults.stage import Stage

STOP_S = 60.0
"""So long a fault that is under way may take to end: a graceful restart of one process, an engine that comes back."""


class Injector:
    """One thread for each fault that is under way."""

    def __init__(self, stage: Stage, kinds: Mapping[str, Fault], plan: Sequence[Planned], seed: str) -> None:
        self._stage = stage
        self._kinds = kinds
        self._plan = plan
        self._seed = seed
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        names = {name for planned in plan for name in kinds[planned.kind].occupies(planned.target)}
        self._occupied = {name: threading.Lock() for name in names}
        self._threads = [
            threading.Thread(target=self._inject, args=(number, planned), daemon=True)
            for number, planned in enumerate(plan)
        ]
        self.injected: list[Injected] = []
        self.under_way: dict[int, Planned] = {}
        self.failures: list[str] = []

    def start(self) -> None:
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def is_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Begin no more faults, end those that are under way, and return when nobody touches the stage any more."""
        self._is_over.set()
        until_s = time.monotonic() + STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until_s - time.monotonic()))

    def _inject(self, number: int, planned: Planned) -> None:
        kind = self._kinds[planned.kind]
        if self._is_over.wait(max(0.0, self._began_s + planned.at_s - time.monotonic())):
            return
        with ExitStack() as held:
            # A graceful restart may take longer than planned: the next fault of the same process waits for it.
            for name in sorted(kind.occupies(planned.target)):
                held.enter_context(self._occupied[name])
            if not self._is_over.is_set():
                self._strike(number, planned, kind)

    def _strike(self, number: int, planned: Planned, kind: Fault) -> None:
        began_s = time.time()
        hit: frozenset[str] = frozenset()
        with self._lock:
            self.under_way[number] = planned
        try:
            hit = kind.begin(self._stage, planned.target, Random(f"{self._seed}-{number}"))
            self._is_over.wait(planned.duration_s)
        except Exception as error:  # noqa: BLE001 - a fault that cannot be injected is told in the report
            self._tell(planned, error)
        try:  # one that has begun by half is ended, too
            kind.end(self._stage, planned.target)
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(planned, error)
        with self._lock:
            del self.under_way[number]
            self.injected.append(
                Injected(planned.kind, planned.target, began_s, time.time(), kind.effects, hit, kind is WIPE)
            )

    def _tell(self, planned: Planned, error: Exception) -> None:
        self.failures.append(f"{planned}: {type(error).__name__}: {error}")
