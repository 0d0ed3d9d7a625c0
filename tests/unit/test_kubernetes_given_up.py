"""Why the Job of a job that was given up stays until its record goes: its use, and what goes wrong without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends._kubernetes import patience
from pman_core.backend import Absent, JobRef, Observed
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.fakes.kube_api import FakeCluster
from tests.fakes.kube_api.conditions import is_true
from tests.fakes.kube_api.job_controller import key_of
from tests.unit.kube_backend import COUNT, World, look, seen

IMAGE = "case/image:1"


@pytest.fixture
def given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, JobSpec, Observed]]:
    monkeypatch.setattr(patience, "AGAIN_S", 0.05)
    with FakeCluster() as cluster:
        cluster.node.second_s = cluster.controller.second_s = 0.02
        cluster.node.images[IMAGE] = ("ErrImagePull", "not found")
        world = World(cluster, tmp_path)
        spec, backend = world.spec(COUNT), world.worker(kube_start_grace_s=0)
        backend.submit(spec)
        ended = seen(backend, spec)
        assert (ended.state, ended.reason) == (State.FAILED, Reason.IMAGE_PULL)
        cluster.node.images.clear()  # it comes, too late
        yield world, spec, ended
        world.close()


def test_it_is_a_failed_job_without_pods(given_up: tuple[World, JobSpec, Observed]) -> None:
    world, _, _ = given_up
    [job] = world.cluster.jobs()
    assert is_true(job, "Failed")
    assert "active" not in job["status"]
    assert world.cluster.pods() == []


def test_from_it_a_lost_record_is_rebuilt(given_up: tuple[World, JobSpec, Observed]) -> None:
    world, spec, ended = given_up
    [owned] = world.worker().owned()
    assert (owned.spec, owned.observed) == (spec, ended)


def test_a_submitter_that_slept_finds_its_name_taken(given_up: tuple[World, JobSpec, Observed]) -> None:
    world, spec, ended = given_up
    handle = world.worker().submit(spec)
    assert (handle, seen(world.worker(), spec)) == (ended.handle, ended)
    assert world.runs(spec) == 0


def test_without_it_the_end_is_forgotten_and_the_sleeper_runs_what_was_told_to_have_failed(
    given_up: tuple[World, JobSpec, Observed],
) -> None:
    world, spec, _ = given_up
    world.cluster.storage.delete(key_of(world.cluster.jobs()[0]))
    other = world.worker()
    assert (look(other, spec), list(other.owned())) == (Absent(), []), "after a wipe nobody knows of it"
    other.submit(spec)
    assert seen(other, spec).state is State.SUCCEEDED
    assert world.runs(spec) == 1, "this is why it stays"


def test_delete_takes_it_away(given_up: tuple[World, JobSpec, Observed]) -> None:
    world, spec, _ = given_up
    world.worker().remove(spec.jid, spec.generation)
    wait_for("nothing is left", lambda: not world.cluster.jobs())
    assert world.worker().logs(JobRef(spec.jid, spec.generation), 10, 100) == ""
