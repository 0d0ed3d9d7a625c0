"""Runs jobs as containers of a Docker engine, or of a Podman service that is found in its place.

Docker Engine API 1.41 (Docker 20.10) and later: https://docs.docker.com/reference/api/engine/version/v1.41/
"""

import logging
from pathlib import Path

from backends._engine.backend import ContainerBackend
from backends._engine.settings import DOCKER_SOCKET, ContainerSettings, tls_folder

log = logging.getLogger(__name__)


class DockerBackend(ContainerBackend):
    """See the text of the module."""

    name = "docker"
    Settings = ContainerSettings

    def url(self) -> str:
        return self.common.docker_host or f"unix://{DOCKER_SOCKET}"

    def tls(self) -> Path | None:
        return tls_folder(self.common, Path.home())

    def open(self) -> None:
        super().open()
        if self.capabilities.engine:
            log.warning(
                "CONTAINER_ENV=docker, but at %s there is %s: it is spoken to in its own way",
                self.url(),
                self.capabilities.engine,
            )
