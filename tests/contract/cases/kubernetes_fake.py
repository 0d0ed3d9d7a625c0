"""The backend ``kubernetes`` once more, on the fake cluster of ``tests/fakes/kube_api``: in seconds, on any machine."""

from pathlib import Path

from backends.kubernetes import KubernetesBackend, KubernetesSettings
from cases.kubernetes import NAMESPACE, KubernetesCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings
from tests.fakes.kube_api import FakeCluster


class KubernetesFakeCase(KubernetesCase):
    marker = ""
    patience_s = 15.0
    prompt_s = 3.0

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

    def alive(self, spec: JobSpec) -> bool:
        """A process belongs to the job if it has been told of the job's output folder."""
        told = f"FAKE_MOUNT__share_outgoing={self.output(spec).resolve()}".encode()
        return any(told in _environment(process).split(b"\0") for process in Path("/proc").glob("[0-9]*"))

    def allocate(self, mib: int) -> None:  # type: ignore[override]
        """Memory is not limited here."""

    def write_incoming(self) -> None:  # type: ignore[override]
        """Nothing is read-only here."""


def _environment(process: Path) -> bytes:
    """Return the variables of a process; of a zombie, and of one that has gone, there are none."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
