"""Podman's case: a real rootful service on this machine, with the test image."""

from contextlib import closing

import docker
from docker.errors import DockerException

from backends.podman import PodmanBackend, PodmanSettings
from cases._containers import IMAGE, ContainerCase
from pman_core.backend import Backend
from pman_core.settings import Settings

URL = "unix:///var/lib/pman-podman/podman.sock"


class PodmanCase(ContainerCase):
    name = "podman"
    marker = "podman"
    prompt_s = 6.0
    patience_s = 30.0

    @classmethod
    def missing(cls) -> str:
        try:
            with closing(docker.APIClient(URL, timeout=5)) as client:
                client.inspect_image(IMAGE)
        except DockerException as error:
            return f"no service with the image {IMAGE} at {URL}: {error}"
        return ""

    def build(self, common: Settings) -> Backend:
        return PodmanBackend(common, PodmanSettings(container_host=URL, engine_timeout_s=3))

    def unreachable(self) -> Backend:
        return PodmanBackend(self.common(), PodmanSettings(container_host=f"unix://{self.folder}/no.sock"))
