"""Backends of engines for tests that call them themselves: patient with an engine that is busy, as pman is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from backends._engine.base import EngineBackend
from backends._engine.client import SilentUnavailable
from backends.docker import DockerBackend
from backends.podman import PodmanBackend
from backends.swarm import SwarmBackend
from pman_core.backend import Handle, JobRef, Owned, Sighting
from pman_core.errors import RegistryAway, Unavailable
from pman_core.job import JobSpec
from tests.engines.jobs import PATIENCE_S

Answer = TypeVar("Answer")


class Patient(EngineBackend):
    """An engine's backend that tries again what a busy engine has not answered in time, as pman does."""

    def open(self) -> None:
        again(super().open, Unavailable)

    def pull(self, image: str, tell: Callable[[str], None]) -> None:
        again(partial(super().pull, image, tell), Unavailable)

    def submit(self, spec: JobSpec) -> Handle:
        return again(partial(super().submit, spec), Unavailable)

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        return again(partial(super().observe, refs), SilentUnavailable)

    def owned(self) -> Iterator[Owned]:
        listing = super().owned
        return iter(again(lambda: list(listing()), SilentUnavailable))

    def cursor(self) -> str:
        return again(super().cursor, SilentUnavailable)

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        return again(partial(super().logs, ref, tail_lines, max_bytes), SilentUnavailable)

    def end(self, jid: str, generation: str) -> None:
        again(partial(super().end, jid, generation), Unavailable)

    def end_overdue(self, jid: str, generation: str) -> None:
        again(partial(super().end_overdue, jid, generation), Unavailable)

    def remove(self, jid: str, generation: str) -> bool:
        return again(partial(super().remove, jid, generation), Unavailable)


class PatientDocker(Patient, DockerBackend):
    """See :class:`Patient`."""


class PatientPodman(Patient, PodmanBackend):
    """See :class:`Patient`."""


class PatientSwarm(Patient, SwarmBackend):
    """See :class:`Patient`."""


def again(ask: Callable[[], Answer], error: type[Unavailable]) -> Answer:
    """Ask until there is an answer other than ``error``; a registry that is away has answered, too."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except error as refusal:
            if isinstance(refusal, RegistryAway) or time.monotonic() > until_s:
                raise
