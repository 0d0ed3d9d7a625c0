"""The backend ``kubernetes`` once more, on the fake cluster of ``tests/fakes/kube_api``: in seconds, on any machine."""

from pathlib import Path

from backends.kubernetes import KubernetesBackend, KubernetesSettings
from cases._fake_mounts import FakeMounts
from cases.kubernetes import NAMESPACE, KubernetesCase
from pman_core.backend import Backend
from pman_core.settings import Settings
from tests.fakes.kube_api import FakeCluster


class KubernetesFakeCase(FakeMounts, KubernetesCase):
    marker = ""
    starts_programs = True
    patience_s = 25.0
    prompt_s = 8.0

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self.cluster = FakeCluster()
        self.cluster.api.namespaces.add(NAMESPACE)
        self.cluster.node.second_s = self.cluster.controller.second_s = 0.05
        self.cluster.__enter__()
        self._access = str(self.cluster.kubeconfig(folder / "access"))

    @classmethod
    def missing(cls) -> str:
        return ""

    def close(self) -> None:
        super().close()
        self.cluster.close()

    def build(self, common: Settings) -> Backend:
        backend = KubernetesBackend(common, KubernetesSettings(kubeconfig=self._access))
        backend.removed_s = 0.1  # this controller has heard of it by then
        return backend
