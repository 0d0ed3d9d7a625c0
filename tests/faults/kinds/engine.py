"""What a Docker engine can suffer: its process, and the socket on the way to it."""

import signal
from collections.abc import Sequence
from random import Random

from tests.faults.kinds.base import NOBODY, Fault, cut_again_and_again
from tests.faults.stage import Stage
from tests.faults.worlds import DockerWorld


class OfEngine(Fault):
    backends = frozenset({"docker"})
    targets = ("engine",)

    @staticmethod
    def world(stage: Stage) -> DockerWorld:
        assert isinstance(stage.world, DockerWorld)
        return stage.world


class Kill(OfEngine):
    """``kill -9`` of dockerd; with live-restore the containers live on."""

    name = "engine-kill"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).engine.signal(signal.SIGKILL)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        engine = self.world(stage).engine
        try:
            engine.start()
        except RuntimeError:  # it takes long to come back to hundreds of containers
            engine.start()


class Stop(OfEngine):
    name = "engine-stop"
    lasts_s = (2.0, 15.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).engine.signal(signal.SIGSTOP)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).engine.signal(signal.SIGCONT)


class Hold(OfEngine):
    """Nothing passes to the engine nor from it, and nothing is cut."""

    name = "engine-hold"
    lasts_s = (2.0, 12.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).proxy.hold()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).proxy.release()


class Cut(OfEngine):
    """Every connection to the engine cut, again and again."""

    name = "engine-cut"
    lasts_s = (0.0, 0.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        return cut_again_and_again(self.world(stage).proxy.cut, 12, rng)


ENGINE: Sequence[Fault] = (Kill(), Stop(), Hold(), Cut())
