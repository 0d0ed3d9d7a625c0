"""What the way to a scheduler can suffer, where a TCP proxy stands on it; the scheduler itself goes on."""

from collections.abc import Sequence
from random import Random

from testbed.redis_proxy import RedisProxy
from tests.faults.cromwell_world import CromwellWorld
from tests.faults.kinds.base import NOBODY, Fault, cut_again_and_again
from tests.faults.stage import Stage
from tests.faults.worlds import KubernetesWorld


class OnTheWay(Fault):
    """The names of the kinds begin with that of the target."""

    what: str
    lasts_s = (2.0, 12.0)

    def __init__(self, backend: str, target: str) -> None:
        self.name = f"{target}-{self.what}"
        self.backends = frozenset({backend})
        self.targets: Sequence[str] = (target,)

    @staticmethod
    def proxy(stage: Stage) -> RedisProxy:
        assert isinstance(stage.world, CromwellWorld | KubernetesWorld)
        return stage.world.proxy


class Refuse(OnTheWay):
    """It cannot be reached."""

    what = "away"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.proxy(stage).refuse()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.proxy(stage).restore()


class Hold(Refuse):
    """No byte arrives, and nothing is cut: watches are silent."""

    what = "silent"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.proxy(stage).swallow()
        return NOBODY


class Cut(OnTheWay):
    """Every call and every watch cut, before or after it was done, again and again."""

    what = "cut"
    lasts_s = (0.0, 0.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        return cut_again_and_again(self.proxy(stage).cut, 12, rng)
