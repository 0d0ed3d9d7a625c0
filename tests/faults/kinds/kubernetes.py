"""What a cluster of Kubernetes can suffer: its API server, and the network on the way to it."""

from collections.abc import Sequence
from random import Random

from testbed import kit
from tests.faults.kinds.base import NOBODY, Fault, cut_again_and_again
from tests.faults.stage import Stage
from tests.faults.worlds import KubernetesWorld


class OfCluster(Fault):
    backends = frozenset({"kubernetes"})
    targets = ("api-server",)

    @staticmethod
    def world(stage: Stage) -> KubernetesWorld:
        assert isinstance(stage.world, KubernetesWorld)
        return stage.world


class Kill(OfCluster):
    """``kill -9`` of the API server: watches break, and their cache is empty when it is back."""

    name = "api-server-kill"
    lasts_s = (1.0, 8.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        kit.kill_api_server()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        kit.bring_back()


class Refuse(OfCluster):
    """The API server cannot be reached from here; the cluster goes on."""

    name = "api-server-away"
    lasts_s = (2.0, 12.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).proxy.refuse()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).proxy.restore()


class Hold(OfCluster):
    """No byte arrives, and nothing is cut: watches are silent."""

    name = "api-server-silent"
    lasts_s = (2.0, 12.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        self.world(stage).proxy.swallow()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        self.world(stage).proxy.restore()


class Cut(OfCluster):
    """Every watch and every call cut, again and again."""

    name = "api-server-cut"
    lasts_s = (0.0, 0.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        return cut_again_and_again(self.world(stage).proxy.cut, 12, rng)


CLUSTER: Sequence[Fault] = (Kill(), Refuse(), Hold(), Cut())
