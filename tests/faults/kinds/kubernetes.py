"""What a cluster of Kubernetes can suffer: its API server, and the network on the way to it."""

from collections.abc import Sequence
from random import Random

from testbed import kit
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.kinds.way import Cut, Hold, Refuse
from tests.faults.stage import Stage

API_SERVER = ("kubernetes", "api-server")


class Kill(Fault):
    """``kill -9`` of the API server: watches break, and their cache is empty when it is back."""

    name = "api-server-kill"
    backends = frozenset({"kubernetes"})
    targets = ("api-server",)
    lasts_s = (1.0, 8.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        kit.kill_api_server()
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        kit.bring_back()


CLUSTER: Sequence[Fault] = (Kill(), Refuse(*API_SERVER), Hold(*API_SERVER), Cut(*API_SERVER))
