"""Podman's case: a real service on this machine, with the test image."""

from typing import ClassVar

from backends.podman import PodmanBackend, PodmanSettings
from cases import BUSY_PATIENCE_S
from cases._containers import ContainerCase
from pman_core.backend import Backend
from pman_core.settings import Settings
from testbed.engines import lack, podman_url
from tests.engines.patient import PatientPodman


class PodmanCase(ContainerCase):
    name = "podman"
    marker = "podman"
    url: ClassVar[str | None] = None
    patience_s = BUSY_PATIENCE_S

    @classmethod
    def missing(cls) -> str:
        cls.url = cls.url or podman_url()  # asked once: a busy engine may not answer within that short time
        return lack(cls.url, cls.image, "testbed/podman/up.sh")

    def build(self, common: Settings) -> Backend:
        return PatientPodman(common, PodmanSettings(container_host=self.url, engine_timeout_s=10))

    def unreachable(self) -> Backend:
        return PodmanBackend(self.common(), PodmanSettings(container_host=f"unix://{self.folder}/no.sock"))
