"""Docker's case: a real engine on this machine, with the test image."""

from contextlib import closing

import docker
from docker.errors import DockerException

from backends._engine.settings import ContainerSettings
from backends.docker import DockerBackend
from cases._containers import IMAGE, ContainerCase
from pman_core.backend import Backend
from pman_core.settings import Settings


class DockerCase(ContainerCase):
    name = "docker"
    marker = "docker"
    url = "unix:///var/run/docker.sock"

    @classmethod
    def missing(cls) -> str:
        try:
            with closing(docker.APIClient(cls.url, timeout=5)) as client:
                client.inspect_image(IMAGE)
        except DockerException as error:
            return f"no engine with the image {IMAGE} at {cls.url}: {error}"
        return ""

    def build(self, common: Settings) -> Backend:
        # A short time-out: whoever finds a container that was never started waits for so long.
        return DockerBackend(common, ContainerSettings(engine_timeout_s=3))

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(docker_host=self.url, **overrides)

    def unreachable(self) -> Backend:
        return self.build(super().common(docker_host=f"unix://{self.folder}/no.sock"))
