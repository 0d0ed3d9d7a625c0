"""Nodes of a swarm are drained, killed, cut off, removed: a job never runs for ever in silence, and never twice."""

import time
from collections.abc import Iterator

import pytest

from backends._engine.labels import GENERATION
from backends.swarm import SwarmBackend
from pman_core.backend import Absent, JobRef, Observed, Unknown
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.swarm import Nodes, look, private_swarm, seen

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600), pytest.mark.xdist_group("swarm-nodes")]

SPEAK = 'echo "last words"; '
LONG = f"{SPEAK} sleep 1000"
SHORT_GRACE_S, LONG_GRACE_S = 2.0, 1000.0
SETTLED_S = 3.0
"""A node that is back has told all and done all by then."""


@pytest.fixture(scope="module")
def swarm() -> Iterator[Nodes]:
    with private_swarm(2, heartbeat_s=5) as nodes:
        yield nodes


@pytest.fixture
def nodes(swarm: Nodes) -> Iterator[Nodes]:
    yield swarm
    for name in swarm.workers:
        wait_for(f"{name} is known", lambda name=name: swarm.state_of(name), PATIENCE_S)  # type: ignore[misc]
        swarm.set_availability(name, "active")
    swarm.restore()
    swarm.clean()


def hosts_of(swarm: Nodes, spec: JobSpec) -> set[str]:
    """Return the nodes that run the job."""
    tasks = swarm.api.tasks(filters={"label": f"{GENERATION}={spec.generation}"})
    return {swarm.api.inspect_node(task["NodeID"])["Description"]["Hostname"] for task in tasks}


def worker_of(swarm: Nodes, spec: JobSpec) -> str:
    """Return a worker that runs a replica of the job: two are never on one node, if there is another."""
    return min(hosts_of(swarm, spec) & set(swarm.workers))


def ref(spec: JobSpec) -> JobRef:
    return JobRef(spec.jid, spec.generation)


def ends_as(found: Observed) -> tuple[State, Reason | None]:
    return found.state, found.reason


def test_a_drained_node_fails_the_job_and_nobody_starts_it_again(nodes: Nodes) -> None:
    spec = nodes.run(LONG, "w1")
    backend = nodes.backend()
    nodes.set_availability("w1", "drain")
    found = seen(backend, spec)
    assert ends_as(found) == (State.FAILED, Reason.NODE_FAIL)
    assert "drained" in found.message
    time.sleep(SETTLED_S)
    assert look(nodes.backend(), spec) == found
    assert nodes.runs(spec) == 1
    assert backend.logs(ref(spec), 10, 1000) == "last words\n"


def test_a_job_that_may_run_anywhere_is_not_moved_from_a_drained_node(nodes: Nodes) -> None:
    spec = nodes.run(LONG)
    backend = nodes.backend()
    (name,) = hosts_of(nodes, spec)
    nodes.set_availability(name, "drain")
    assert ends_as(seen(backend, spec)) == (State.FAILED, Reason.NODE_FAIL)
    time.sleep(SETTLED_S)
    nodes.set_availability(name, "active")
    time.sleep(SETTLED_S)
    assert nodes.runs(spec) == 1
    assert not nodes.alive(spec)


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_a_silent_node_is_told_at_once_and_given_up_after_its_grace(nodes: Nodes, how: str) -> None:
    backend, patient = nodes.backend(node_lost_grace_s=SHORT_GRACE_S), nodes.backend(node_lost_grace_s=LONG_GRACE_S)
    spec = nodes.run(LONG, "w1")
    nodes.silence("w1", how)
    told = look(patient, spec)
    assert isinstance(told, Observed)
    assert told.state is State.RUNNING
    assert "node w1 does not answer since" in told.message
    found = seen(backend, spec)
    assert ends_as(found) == (State.FAILED, Reason.NODE_FAIL)
    assert "node w1 does not answer since" in found.message
    assert look(nodes.backend(), spec) == found, "another worker tells another story"
    with pytest.raises(Unavailable):
        SwarmBackend.logs(backend, ref(spec), 10, 1000)  # once
    nodes.restore()
    wait_for("the container is ended", lambda: not nodes.alive(spec), PATIENCE_S)
    time.sleep(SETTLED_S)
    assert look(backend, spec) == look(nodes.backend(), spec) == found, "the node is back and tells another story"
    assert nodes.runs(spec) == 1


def test_a_node_that_is_back_within_its_grace_has_killed_the_job(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=LONG_GRACE_S)
    spec = nodes.run(LONG, "w1")
    nodes.silence("w1", "killed")
    told = look(backend, spec)
    assert isinstance(told, Observed)
    assert "does not answer" in told.message
    nodes.restore()
    found = seen(backend, spec)
    assert ends_as(found) == (State.FAILED, Reason.NODE_FAIL), "with its memory limit it looks like want of memory"
    assert look(nodes.backend(), spec) == found
    assert nodes.runs(spec) == 1


def test_what_ended_behind_a_cut_network_is_told_when_it_is_back(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=LONG_GRACE_S)
    spec = nodes.run(f"{SPEAK} until [ -e $0/done ]; do sleep 0.1; done; exit 4", "w1")
    nodes.silence("w1", "cut off")
    (nodes.output(spec) / "done").touch()
    wait_for("it has ended", lambda: not nodes.alive(spec), PATIENCE_S)
    assert isinstance(told := look(backend, spec), Observed)
    assert told.state is State.RUNNING
    nodes.restore()
    found = seen(backend, spec)
    assert (*ends_as(found), found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 4)
    assert nodes.runs(spec) == 1


def test_success_behind_a_cut_network_comes_too_late_after_the_grace(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=SHORT_GRACE_S)
    spec = nodes.run(f"{SPEAK} until [ -e $0/done ]; do sleep 0.1; done", "w1")
    nodes.silence("w1", "cut off")
    found = seen(backend, spec)
    assert ends_as(found) == (State.FAILED, Reason.NODE_FAIL)
    (nodes.output(spec) / "done").touch()
    nodes.restore()
    time.sleep(SETTLED_S)
    assert look(backend, spec) == found
    assert nodes.runs(spec) == 1


def test_a_removed_node_fails_the_job(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=LONG_GRACE_S)
    spec = nodes.run(LONG, "w1")
    nodes.silence("w1", "killed")
    nodes.remove_node("w1")
    found = seen(backend, spec)
    assert ends_as(found) == (State.FAILED, Reason.NODE_FAIL)
    assert "removed from the swarm" in found.message
    nodes.restore()
    time.sleep(SETTLED_S)
    assert look(backend, spec) == found
    assert nodes.runs(spec) == 1


def test_a_job_that_is_ended_while_its_node_is_silent_is_cancelled(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=SHORT_GRACE_S)
    spec = nodes.run(LONG, "w1")
    nodes.silence("w1", "killed")
    backend.end(spec.jid, spec.generation)
    found = seen(backend, spec)
    assert ends_as(found) == (State.CANCELLED, Reason.CANCELLED)
    nodes.restore()
    time.sleep(SETTLED_S)
    assert look(nodes.backend(), spec) == found
    assert nodes.runs(spec) == 1


def test_a_removed_job_on_a_node_that_never_comes_back_is_gone_with_the_node(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=SHORT_GRACE_S)
    spec = nodes.run(LONG, "w1")
    nodes.silence("w1", "killed")
    assert backend.remove(spec.jid, spec.generation) is False
    assert isinstance(look(backend, spec), Unknown)
    nodes.remove_node("w1")
    wait_for("it is gone", lambda: look(backend, spec) == Absent(), PATIENCE_S)
    nodes.restore()
    assert nodes.runs(spec) == 1


def test_one_lost_replica_fails_the_job_when_the_others_have_ended(nodes: Nodes) -> None:
    backend = nodes.backend(node_lost_grace_s=SHORT_GRACE_S)
    spec = nodes.spec(f"{SPEAK} until [ -e $0/done ]; do sleep 0.1; done", number_of_workers=2)
    backend.submit(spec)
    wait_for("both run", lambda: nodes.runs(spec) == 2, PATIENCE_S)
    seen(backend, spec, State.RUNNING)
    victim = worker_of(nodes, spec)
    nodes.silence(victim, "killed")
    time.sleep(SHORT_GRACE_S + 1)
    told = look(backend, spec)
    assert isinstance(told, Observed)
    assert told.state is State.RUNNING
    assert f"of 2: node {victim} does not answer" in told.message
    log = backend.logs(ref(spec), 100, 10_000)
    assert f"(its log cannot be read: node {victim} does not answer" in log
    assert "last words\n" in log
    (nodes.output(spec) / "done").touch()
    found = seen(backend, spec)
    assert ends_as(found) == (State.FAILED, Reason.NODE_FAIL)
    nodes.restore()
    time.sleep(SETTLED_S)
    assert look(nodes.backend(), spec) == found
    assert nodes.runs(spec) == 2
