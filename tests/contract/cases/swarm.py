"""Swarm's case: a real manager on this machine, and its workers if it has any, all with the test image."""

from contextlib import closing
from typing import ClassVar

import docker

from backends.swarm import SwarmBackend, SwarmSettings
from cases._containers import ContainerCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings
from testbed.engines import docker_url, lack


class SwarmCase(ContainerCase):
    name = "swarm"
    marker = "swarm"
    patience_s = 30.0
    url: ClassVar[str | None] = None

    @classmethod
    def missing(cls) -> str:
        cls.url = cls.url or docker_url()  # asked once: a busy engine may not answer within that short time
        if lacking := lack(cls.url, cls.image, "testbed/docker/up.sh"):
            return lacking
        with closing(docker.APIClient(cls.url, timeout=20)) as client:
            is_manager = client.info()["Swarm"]["ControlAvailable"]
        return "" if is_manager else f"the engine at {cls.url} is no manager of a swarm: see testbed/docker/up.sh"

    def build(self, common: Settings) -> Backend:
        # Without reservations: the suite asks for more CPUs at once than a small machine has.
        return SwarmBackend(common, SwarmSettings(swarm_reserve=False))

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(docker_host=self.url, **overrides)

    def half_submit(self, spec: JobSpec) -> bool:
        return False  # a service starts by itself

    def unreachable(self) -> Backend:
        return self.build(super().common(docker_host=f"unix://{self.folder}/no.sock"))
