"""What a kind of fault is: what it can hit, for how long, what clients may feel of it, how it begins and ends."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random

from tests.faults.evidence import Effect
from tests.faults.plan import Choice
from tests.faults.stage import Stage


class Fault(ABC):
    """One kind. Faults hold no state of their own: the same object strikes several times, also at once."""

    name: str
    backends: frozenset[str] = frozenset()
    """Where it can happen; empty: everywhere."""
    targets: Sequence[str]
    lasts_s: tuple[float, float] = (1.0, 5.0)
    effects: frozenset[Effect] = frozenset()

    def occupies(self, target: str) -> frozenset[str]:
        """Name what no other fault may touch meanwhile."""
        return frozenset({target})

    @abstractmethod
    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        """Let it happen. Returns the generations whose jobs it has ended by force, if that is what it does."""

    def end(self, stage: Stage, target: str) -> None:
        """Let it be over."""

    def choices(self, lease_s: float) -> list[Choice]:
        """Return what may be planned, in a system with submit leases of ``lease_s``."""
        return [Choice(self.name, target, self.lasts_s, self.occupies(target)) for target in self.targets]


NOBODY: frozenset[str] = frozenset()


def cut_again_and_again(cut: Callable[[], object], times_max: int, rng: Random) -> frozenset[str]:
    """Cut all connections of a proxy; new ones are taken at once, and cut in their turn."""
    for _ in range(rng.randint(1, times_max)):
        cut()
        time.sleep(rng.uniform(0, 0.5))
    return NOBODY
