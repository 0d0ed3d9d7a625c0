"""Runs jobs as containers of Podman, through the Docker-compatible API of ``podman system service``.

Podman 4.3 and later, of root or of a user:
https://docs.podman.io/en/latest/markdown/podman-system-service.1.html
"""

import os

from pydantic import Field

from backends._engine.backend import ContainerBackend
from backends._engine.settings import ContainerSettings, first_socket, podman_sockets
from pman_core.errors import Rejected


class PodmanSettings(ContainerSettings):
    """Podman's own settings."""

    container_host: str = Field(default="", description="Podman's own variable for the URL of its service")


class PodmanBackend(ContainerBackend):
    """See the text of the module."""

    name = "podman"
    Settings = PodmanSettings
    own: PodmanSettings

    def url(self) -> str:
        given = self.own.container_host or self.common.docker_host
        return given or first_socket(podman_sockets(os.environ, os.geteuid()))

    def open(self) -> None:
        super().open()
        if self.capabilities.engine:
            raise Rejected(f"CONTAINER_ENV=podman, but at {self.url()} there is {self.capabilities.engine}")
