"""Swarm's case: a real manager on this machine, and its workers if it has any, all with the test image."""

from typing import ClassVar

from backends.swarm import SwarmBackend, SwarmSettings
from cases import BUSY_PATIENCE_S
from cases._containers import ContainerCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings
from testbed.engines import docker_url, lack_of_swarm
from tests.engines.patient import PatientSwarm


class SwarmCase(ContainerCase):
    name = "swarm"
    marker = "swarm"
    patience_s = BUSY_PATIENCE_S
    url: ClassVar[str | None] = None

    @classmethod
    def missing(cls) -> str:
        cls.url = cls.url or docker_url()  # asked once: a busy engine may not answer within that short time
        return lack_of_swarm(cls.url, cls.image, "testbed/docker/up.sh")

    def build(self, common: Settings) -> Backend:
        # Without reservations: the suite asks for more CPUs at once than a small machine has.
        return PatientSwarm(common, SwarmSettings(swarm_reserve=False))

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(docker_host=self.url, **overrides)

    def half_submit(self, spec: JobSpec) -> bool:
        return False  # a service starts by itself

    def unreachable(self) -> Backend:
        return SwarmBackend(super().common(docker_host=f"unix://{self.folder}/no.sock"), SwarmSettings())
