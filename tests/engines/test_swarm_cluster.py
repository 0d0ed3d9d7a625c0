"""What it takes a whole swarm to show: scarce GPUs and CPUs, frozen nodes, a manager that dies, a short memory."""

import signal
import time
from collections.abc import Iterator

import pytest

from pman_core.backend import Absent, JobRef, Observed, Unknown
from pman_core.errors import Unavailable
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.swarm import Nodes, look, private_swarm, seen

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]

GPUS = ("--node-generic-resource gpu=g1", "--node-generic-resource gpu=g2")
SHORT_GRACE_S, LONG_GRACE_S = 2.0, 600.0


@pytest.fixture(scope="module")
def swarm() -> Iterator[Nodes]:
    with private_swarm(1, *GPUS, heartbeat_s=5) as nodes:
        yield nodes


@pytest.fixture
def nodes(swarm: Nodes) -> Iterator[Nodes]:
    yield swarm
    swarm.restore()
    swarm.clean()


def test_gpus_are_found_reserved_and_waited_for(nodes: Nodes) -> None:
    backend = nodes.backend()
    assert backend.capabilities.gpus
    assert not nodes.backend(swarm_gpu_resource="tpu").capabilities.gpus
    holder = nodes.run('echo "$DOCKER_RESOURCE_GPU" > "$0/gpus"; sleep 600', gpu_limit=2)
    given = nodes.output(holder) / "gpus"
    wait_for("its program tells its GPUs", lambda: given.exists() and given.read_text().endswith("\n"), PATIENCE_S)
    assert set(given.read_text().strip().split(",")) == {"g1", "g2"}
    waiter = nodes.spec('echo "$DOCKER_RESOURCE_GPU"', gpu_limit=1)
    backend.submit(waiter)
    wait_for("a reason", lambda: "insufficient resources" in getattr(look(backend, waiter), "message", ""), PATIENCE_S)
    assert seen(backend, waiter, State.PENDING).native_state == "pending"
    backend.end(holder.jid, holder.generation)
    ended = seen(backend, waiter)
    assert ended.state is State.SUCCEEDED
    assert backend.logs(JobRef(waiter.jid, waiter.generation), 10, 1000).strip() in {"g1", "g2"}
    assert nodes.runs(holder) == nodes.runs(waiter) == 1


def test_a_job_that_is_too_large_for_every_node_waits_and_says_why(nodes: Nodes) -> None:
    backend, spec = nodes.backend(), nodes.spec("true", memory_limit=10_000_000)
    backend.submit(spec)
    wait_for("a reason", lambda: "insufficient resources" in getattr(look(backend, spec), "message", ""), PATIENCE_S)
    assert seen(backend, spec, State.PENDING).started_at is None
    backend.end(spec.jid, spec.generation)
    assert seen(backend, spec).state is State.CANCELLED
    assert nodes.runs(spec) == 0


def test_a_job_of_a_swarm_that_keeps_no_history_is_not_run_again(nodes: Nodes) -> None:
    nodes.set_up(Orchestration={"TaskHistoryRetentionLimit": 0})
    try:
        backend, spec = nodes.backend(), nodes.run("exit 3")
        ended = seen(backend, spec)
        backend.end(spec.jid, spec.generation)
        other = nodes.run("sleep 600")
        backend.end(other.jid, other.generation)
        cancelled = seen(backend, other)
        nodes.swarm.signal("main", signal.SIGKILL)
        nodes.restore()
        again = nodes.backend()
        assert seen(again, spec) == ended
        assert seen(again, other) == cancelled
        assert (ended.exit_code, cancelled.state) == (3, State.CANCELLED)
        assert nodes.runs(spec) == nodes.runs(other) == 1
    finally:
        nodes.set_up(Orchestration={"TaskHistoryRetentionLimit": 5})


def test_a_job_outlives_the_manager(nodes: Nodes) -> None:
    spec = nodes.run('until [ -e "$0/go" ]; do sleep 0.1; done; exit 4', node="w1")
    backend = nodes.backend()
    nodes.swarm.signal("main", signal.SIGKILL)
    with pytest.raises(Unavailable):
        look(backend, spec)
    (nodes.output(spec) / "go").touch()
    nodes.restore()
    ended = seen(nodes.backend(), spec)
    assert (ended.state, ended.exit_code) == (State.FAILED, 4)
    assert nodes.runs(spec) == 1


def test_a_job_on_a_frozen_node_has_failed_for_good_after_the_grace(nodes: Nodes) -> None:
    spec = nodes.run("sleep 600", node="w1")
    nodes.silence("w1", "frozen")
    waiting = look(nodes.backend(node_lost_grace_s=LONG_GRACE_S), spec)
    assert isinstance(waiting, Observed)
    assert waiting.state is State.RUNNING
    assert "w1 does not answer" in waiting.message
    lost = seen(nodes.backend(node_lost_grace_s=SHORT_GRACE_S), spec)
    assert (lost.state, lost.reason) == (State.FAILED, Reason.NODE_FAIL)
    # Whoever would have waited longer is told the same.
    assert look(nodes.backend(node_lost_grace_s=LONG_GRACE_S), spec) == lost
    nodes.restore()
    wait_for("its process has ended", lambda: not nodes.alive(spec), PATIENCE_S)
    assert look(nodes.backend(), spec) == lost
    assert nodes.runs(spec) == 1


def test_a_job_on_a_node_that_was_frozen_for_a_while_was_ended_by_the_swarm(nodes: Nodes) -> None:
    spec = nodes.run("sleep 600", node="w1")
    backend = nodes.backend(node_lost_grace_s=LONG_GRACE_S)
    nodes.silence("w1", "frozen")
    seen(backend, spec, State.RUNNING)
    nodes.restore()
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert look(nodes.backend(), spec) == ended
    assert nodes.runs(spec) == 1


def test_a_job_that_ends_while_its_node_is_frozen_has_its_own_exit_code(nodes: Nodes) -> None:
    """Its engine hears of its end and of the swarm's wish to end it in the same moment; either may be told."""
    spec = nodes.run('until [ -e "$0/go" ]; do sleep 0.1; done; exit 4', node="w1")
    backend = nodes.backend(node_lost_grace_s=LONG_GRACE_S)
    nodes.silence("w1", "frozen")
    (nodes.output(spec) / "go").touch()
    wait_for("it has ended", lambda: not nodes.alive(spec), PATIENCE_S)
    seen(backend, spec, State.RUNNING)
    nodes.restore()
    ended = seen(backend, spec)
    assert ended.native_state in {"failed", "shutdown"}
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 4)
    assert look(nodes.backend(), spec) == ended
    assert nodes.runs(spec) == 1


def test_a_job_that_an_administrator_ends_is_cancelled_whenever_it_is_seen(nodes: Nodes) -> None:
    """Scaled to nothing, or run again: the first look at the end tells it."""
    backend = nodes.backend()
    scaled, again = nodes.run("sleep 600"), nodes.run("sleep 600")
    nodes.change(scaled, Mode={"Replicated": {"Replicas": 0}})
    found = seen(backend, scaled)
    assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert "by an administrator" in found.message
    nodes.change(again, ForceUpdate=1)
    found = seen(backend, again)
    assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert "it is run again" in found.message


def test_a_removed_job_on_a_silent_node_is_not_gone_while_it_lives(nodes: Nodes) -> None:
    spec = nodes.run("sleep 600", node="w1")
    nodes.silence("w1", "cut off")
    backend = nodes.backend(node_lost_grace_s=SHORT_GRACE_S)
    assert backend.remove(spec.jid, spec.generation) is False
    time.sleep(SHORT_GRACE_S + 3)
    assert nodes.alive(spec)
    assert isinstance(look(backend, spec), Unknown)
    nodes.restore()
    wait_for("it is gone", lambda: look(backend, spec) == Absent(), PATIENCE_S)
    assert not nodes.alive(spec)
    assert nodes.runs(spec) == 1
