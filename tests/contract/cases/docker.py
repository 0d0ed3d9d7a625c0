"""Docker's case: a real engine on this machine, with the test image."""

from typing import ClassVar

from backends._engine.settings import ContainerSettings
from backends.docker import DockerBackend
from cases import BUSY_PATIENCE_S
from cases._containers import ContainerCase
from pman_core.backend import Backend
from pman_core.settings import Settings
from testbed.engines import docker_url, lack
from tests.engines.patient import PatientDocker


class DockerCase(ContainerCase):
    name = "docker"
    marker = "docker"
    patience_s = BUSY_PATIENCE_S
    url: ClassVar[str | None] = None

    @classmethod
    def missing(cls) -> str:
        cls.url = cls.url or docker_url()  # asked once: a busy engine may not answer within that short time
        return lack(cls.url, cls.image, "testbed/docker/up.sh")

    def build(self, common: Settings) -> Backend:
        # A short time-out: whoever finds a container that was never started waits for so long.
        return PatientDocker(common, ContainerSettings(engine_timeout_s=10))

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(docker_host=self.url, **overrides)

    def unreachable(self) -> Backend:
        return DockerBackend(super().common(docker_host=f"unix://{self.folder}/no.sock"), ContainerSettings())
