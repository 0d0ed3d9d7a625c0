"""What a Cromwell can suffer: its process, and the network on the way to it."""

import signal
from collections.abc import Sequence
from random import Random

from tests.faults.cromwell_world import CromwellWorld
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.kinds.way import Cut, Refuse
from tests.faults.stage import Stage

SERVER = ("cromwell", "cromwell")


class OfCromwell(Fault):
    backends = frozenset({"cromwell"})
    targets = ("cromwell",)

    @staticmethod
    def world(stage: Stage) -> CromwellWorld:
        assert isinstance(stage.world, CromwellWorld)
        return stage.world


class Kill(OfCromwell):
    """``kill -9``, and a new one later: job ids that were not written are lost, and those jobs submitted again."""

    name = "cromwell-kill"
    lasts_s = (0.5, 8.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).signal(signal.SIGKILL)
        self.world(stage).wait_ended()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).start()


class Restart(OfCromwell):
    """It is told to end, and comes back."""

    name = "cromwell-restart"
    lasts_s = (0.2, 5.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).terminate()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).start()


class Sleep(OfCromwell):
    """SIGSTOP: connections are taken and nothing is answered."""

    name = "cromwell-stop"
    lasts_s = (1.0, 10.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).signal(signal.SIGSTOP)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).signal(signal.SIGCONT)


CROMWELL: Sequence[Fault] = (Kill(), Restart(), Sleep(), Refuse(*SERVER), Cut(*SERVER))
