"""A namespace and all of pman in it, for what is done to a cluster. The API server is killed and the kubelet stopped,
so nothing else may use the cluster meanwhile.
"""

from collections.abc import Iterator

import pytest

from testbed.system import System
from tests.engines.jobs import FAST
from tests.engines.kube import Cluster, cluster
from tests.engines.kube_system import need_kit, start_system


@pytest.fixture(scope="module")
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    need_kit(request)
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def shared(kube: Cluster) -> Iterator[System]:
    system = start_system(kube, "faults", KUBE_START_GRACE_S="300", **FAST)
    yield system
    system.close()


@pytest.fixture
def pman(kube: Cluster, shared: System) -> Iterator[System]:
    """All of pman; what a test has failed to delete is no burden of the next one."""
    yield shared
    kube.kubectl("delete", "resourcequotas", "--all")
    kube.kubectl("delete", "jobs,pods", "--all", "--wait=false")
