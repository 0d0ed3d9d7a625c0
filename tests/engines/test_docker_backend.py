"""Single faults of one container, which no other job may feel."""

import threading
from collections.abc import Iterator, Set
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backends._engine.settings import ContainerSettings
from backends._engine.state import Container
from backends.docker import DockerBackend
from pman_core.backend import JobRef, Observed, Unknown
from pman_core.errors import Rejected, Unparseable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import load_settings
from pman_core.states import TERMINAL, Reason, State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S, body, connect
from tests.engines.patient import PatientDocker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def backend(docker_url: str, folder: Path) -> Iterator[DockerBackend]:
    instance = "b" + mint_generation()[-8:]
    common = load_settings(container_env="docker", storebase=folder, docker_host=docker_url, pman_instance=instance)
    backend = PatientDocker(common, ContainerSettings())
    backend.open()
    yield backend
    for owned in list(backend.owned()):
        backend.remove(owned.observed.jid, owned.observed.generation)
    backend.close()


def spec_of(backend: DockerBackend, jid: str, script: str, **fields: Any) -> JobSpec:
    return JobSpec(mint_generation(), backend.common.pman_instance, JobRequest(**body(jid, script, **fields)))


def submit(backend: DockerBackend, jid: str, script: str, **fields: Any) -> JobRef:
    spec = spec_of(backend, jid, script, **fields)
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


def test_a_job_that_is_ended_is_told_so_even_if_a_child_of_it_had_wanted_memory(
    backend: DockerBackend, docker_url: str, folder: Path
) -> None:
    """The engine says of the whole container, ever after, that it was killed for want of memory."""
    script = 'dd if=/dev/zero of=/dev/null bs=300M count=1; touch "$1/goes-on"; sleep 1000'
    job = submit(backend, "job", script, memory_limit=50)
    wait_for("the child is dead", (folder / "job/out/goes-on").exists, PATIENCE_S)
    backend.end("job", job.generation)
    container_id = job.handle.data["id"] if job.handle else ""
    with closing(connect(docker_url)) as client:
        wait_for("the engine says so", lambda: client.inspect_container(container_id)["State"]["OOMKilled"], PATIENCE_S)

    def ended() -> Observed | None:
        seen = backend.observe([job])["job", job.generation]
        return seen if isinstance(seen, Observed) and seen.state in TERMINAL else None

    found = wait_for("it has ended", ended, PATIENCE_S)
    assert (found.state, found.reason, found.message) == (State.CANCELLED, Reason.CANCELLED, "ended on request")


def test_a_container_that_is_removed_by_hand_is_heard_to_end(backend: DockerBackend, docker_url: str) -> None:
    """Its end is told while it is being removed, so that it is still there, or there no more, when it is asked for."""
    stop = threading.Event()
    events = backend.watch(backend.cursor(), stop)
    jobs = [submit(backend, f"job-{number}", "sleep 1000") for number in range(5)]
    heard: dict[str, Observed] = {}

    def all_are(states: Set[State]) -> bool:
        if (event := next(events)).observed is not None:
            heard[event.observed.jid] = event.observed
        return len(heard) == len(jobs) and all(observed.state in states for observed in heard.values())

    # An engine with other work keeps its last 256 events only: so they are heard from the beginning.
    wait_for("all are heard to begin", lambda: all_are({State.RUNNING}), PATIENCE_S)
    with closing(connect(docker_url)) as client:
        for job in jobs:
            assert job.handle is not None
            client.remove_container(job.handle.data["id"], force=True)
    wait_for("all are heard to end", lambda: all_are(TERMINAL), PATIENCE_S)
    stop.set()
    for found in heard.values():
        assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.SIGNALLED, 137)
        assert found.message == "ended by signal 9 (SIGKILL); its container was removed from the engine"


@pytest.mark.parametrize("may_have_begun", [False, True])
def test_a_container_is_started_again_only_if_it_cannot_have_begun(
    backend: DockerBackend, docker_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, may_have_begun: bool
) -> None:
    """A Docker that was killed as a program began shows it as not started, and has opened its log.

    Here its log is opened by asking for it, for to kill the engine within the right milliseconds takes many tries.
    """
    monkeypatch.setattr(backend, "own", ContainerSettings(engine_timeout_s=5))
    spec = spec_of(backend, "job", 'touch "$1/began"; sleep 1000')

    def die(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backend, "_start", die)
        with pytest.raises(KeyboardInterrupt):
            backend.submit(spec)
    if may_have_begun:
        with closing(connect(docker_url)) as client:
            client.logs(spec.native_name)
        with pytest.raises(Rejected, match="it may have run, and is not run again") as raised:
            backend.submit(spec)
        assert raised.value.reason is Reason.NODE_FAIL
        assert not (folder / "job/out/began").exists()
    else:
        backend.submit(spec)
        wait_for("it has begun", (folder / "job/out/began").exists, PATIENCE_S)
