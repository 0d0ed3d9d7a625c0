"""Single faults of one container, which no other job may feel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends._engine.settings import ContainerSettings
from backends._engine.state import Container
from backends.docker import DockerBackend
from pman_core.backend import JobRef, Observed, Unknown
from pman_core.errors import Unparseable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import load_settings
from pman_core.states import State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S, body

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def backend(docker_url: str, folder: Path) -> Iterator[DockerBackend]:
    instance = "b" + mint_generation()[-8:]
    common = load_settings(container_env="docker", storebase=folder, docker_host=docker_url, pman_instance=instance)
    backend = DockerBackend(common, ContainerSettings())
    backend.open()
    yield backend
    for owned in list(backend.owned()):
        backend.remove(owned.observed.jid, owned.observed.generation)
    backend.close()


def submit(backend: DockerBackend, jid: str, script: str) -> JobRef:
    request = JobRequest(**body(jid, script))
    spec = JobSpec(mint_generation(), backend.common.pman_instance, request)
    return JobRef(jid, spec.generation, backend.submit(spec))


def test_a_container_that_the_engine_cannot_read_hides_no_other(
    backend: DockerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = submit(backend, "bad", "exit 1"), submit(backend, "good", "exit 0")
    inspect = backend._inspect

    def some_are_unreadable(name_or_id: str) -> Container:
        if bad.handle is not None and name_or_id == bad.handle.data["id"]:
            raise Unparseable("the engine answered HTTP 500", "stat overlay2/merged: no such file or directory")
        return inspect(name_or_id)

    monkeypatch.setattr(backend._sightings, "_inspect", some_are_unreadable)

    def has_ended() -> bool:
        seen = backend.observe([bad, good])
        assert isinstance(seen["bad", bad.generation], Unknown)
        sighting = seen["good", good.generation]
        return isinstance(sighting, Observed) and sighting.state is State.SUCCEEDED

    wait_for("the good one has ended", has_ended, PATIENCE_S)
    assert [owned.observed.jid for owned in backend.owned()] == ["good"]
    monkeypatch.undo()
