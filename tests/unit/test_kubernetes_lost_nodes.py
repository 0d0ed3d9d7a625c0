"""When a pod's node is lost, what becomes of its job, and that nothing runs twice or is left running.

The rule alone, and then all of it over the fake cluster, whose kubelet can be silent.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends._exit_codes import describe_exit
from backends._kubernetes import connection, patience
from backends._kubernetes.identity import VERDICT
from backends._kubernetes.lost_nodes import TAINT_MANAGER, lost_pods, makes_no_more_pods, verdict_on
from backends._kubernetes.verdict import verdict_of
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Absent, Observed, Unknown
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.fakes.kube_api import FakeCluster
from tests.fakes.kube_api.job_controller import key_of
from tests.recorded.kube_jobs import sh
from tests.unit.kube_backend import World, look, seen
from tests.unit.kube_objects import Object, job, pod, running, terminated

NOW = datetime(2026, 11, 25, 13, tzinfo=UTC)
GRACE_S = 60.0
LOST = {"type": "DisruptionTarget", "status": "True", "reason": TAINT_MANAGER, "message": "deleting"}
BEAT = sh('echo ran >> "$FAKE_MOUNT__share_outgoing/runs"; trap "" TERM; sleep 1000 & wait')
LONG_AGO = "2020-01-01T00:00:00Z"


def told_to_go(age_s: float, phase: str = "Running", **condition: str) -> Object:
    shown = pod(phase, running() if phase == "Running" else None, conditions=[LOST | condition])
    due_at = NOW - timedelta(seconds=age_s)
    shown["metadata"]["deletionTimestamp"] = due_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return shown


def test_a_pod_is_lost_when_the_grace_is_over_after_it_should_have_ended() -> None:
    def is_lost(shown: Object, now: datetime | None = NOW) -> bool:
        return lost_pods([shown], now, GRACE_S) == [shown]

    assert is_lost(told_to_go(61))
    assert is_lost(told_to_go(61, "Pending")), "its container has not begun"
    assert not is_lost(told_to_go(60))
    assert not is_lost(told_to_go(-30)), "its own grace is not over"
    assert not is_lost(told_to_go(61), now=None), "the server has not told its time"
    assert not is_lost(told_to_go(61, "Failed")), "its node has ended it"
    assert not is_lost(told_to_go(61, reason="EvictionByEvictionAPI")), "its node may be at it"
    assert not is_lost(told_to_go(61, status="False"))
    assert not is_lost(pod("Running", running(), conditions=[LOST])), "nobody has told it to go"


def test_the_verdict_names_the_node_and_kubernetes_words() -> None:
    said = verdict_on([told_to_go(50), told_to_go(61), told_to_go(55)])
    assert said.reason is Reason.NODE_FAIL
    assert said.message == (
        f"node node1 is lost, it should have ended its pod at 2026-11-25 12:58:59 UTC: {TAINT_MANAGER}: deleting"
    )


@pytest.mark.parametrize("condition", ["FailureTarget", "SuccessCriteriaMet", "Suspended"])
def test_a_job_makes_no_more_pods_when_its_controller_has_said_so(condition: str) -> None:
    judged = {VERDICT: verdict_on([told_to_go(61)]).to_json()}
    assert makes_no_more_pods(job(condition, annotations=judged, parallelism=0))
    is_final = condition != "Suspended"
    assert makes_no_more_pods(job(condition, annotations=judged)) is is_final, "resumed, it would make all of them"
    assert makes_no_more_pods(job(condition)) is (condition != "Suspended"), "somebody else may resume it"
    assert not makes_no_more_pods(job(annotations=judged, parallelism=0)), "its controller may not have read it"


# All of it


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(patience, "AGAIN_S", 0.05)
    with FakeCluster() as cluster:
        cluster.node.second_s = cluster.controller.second_s = 0.02
        made = World(cluster, tmp_path)
        yield made
        cluster.faults.release()
        made.close()


def running_job(kube: World, **fields: Any) -> tuple[KubernetesBackend, JobSpec]:
    backend, spec = kube.worker(), kube.spec(BEAT, **fields)
    backend.submit(spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    wait_for("all workers have begun", lambda: kube.runs(spec) == spec.request.number_of_workers)
    return backend, spec


def pods_of(kube: World) -> list[dict[str, Any]]:
    return sorted(kube.cluster.pods(), key=lambda found: str(found["metadata"]["name"]))


def lose(kube: World, *pods: dict[str, Any]) -> None:
    """The node of these pods is silent, they are given up, and that was long ago."""
    kube.cluster.node.silent_for |= {found["metadata"]["uid"] for found in pods}
    for found in pods:
        kube.cluster.disrupt(found, TAINT_MANAGER, "Taint manager: deleting due to NoExecute taint")
        kube.cluster.storage.update(key_of(found), lambda found: found["metadata"].update(deletionTimestamp=LONG_AGO))


def test_a_node_that_is_lost_fails_its_job_and_has_ended_it_when_it_is_back(kube: World) -> None:
    backend, spec = running_job(kube)
    lose(kube, *pods_of(kube))
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "node node1 is lost" in ended.message
    assert kube.cluster.pods() == []
    kube.cluster.node.silent_for.clear()
    wait_for("its container is ended", lambda: not kube.cluster.node.runs())
    assert seen(kube.worker(), spec) == ended, "the node is back and tells another story"
    assert kube.runs(spec) == 1


def test_a_node_that_is_back_within_the_grace_tells_the_end_itself(kube: World) -> None:
    backend, spec = running_job(kube)
    [found] = pods_of(kube)
    kube.cluster.node.is_silent = True
    kube.cluster.disrupt(found, TAINT_MANAGER, "Taint manager: deleting due to NoExecute taint")
    told = look(backend, spec)
    assert isinstance(told, Observed)
    assert (told.state, TAINT_MANAGER in told.message) == (State.RUNNING, True)
    kube.cluster.node.is_silent = False
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert verdict_of(kube.cluster.jobs()[0]["metadata"]["annotations"]) is None
    assert kube.runs(spec) == 1


def test_a_job_that_is_ended_on_request_on_a_lost_node_is_cancelled(kube: World) -> None:
    backend, spec = running_job(kube)
    lose(kube, *pods_of(kube))
    backend.end(spec.jid, spec.generation)
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert kube.runs(spec) == 1


def test_a_lost_node_does_not_block_a_removal(kube: World) -> None:
    backend, spec = running_job(kube)
    kube.cluster.node.is_silent = True
    assert backend.remove(spec.jid, spec.generation) is False
    wait_for("the Job is gone", lambda: not kube.cluster.jobs())
    other = kube.worker()
    assert isinstance(look(other, spec), Unknown), "its pod may still run"
    lose(kube, *pods_of(kube))
    kube.cluster.node.is_silent = False
    wait_for("it is gone", lambda: look(other, spec) == Absent())
    kube.cluster.node.silent_for.clear()
    wait_for("its container is ended", lambda: not kube.cluster.node.runs())
    assert kube.runs(spec) == 1


def test_one_worker_that_is_lost_ends_the_others_and_none_begins_anew(kube: World) -> None:
    backend, spec = running_job(kube, number_of_workers=2)
    lose(kube, pods_of(kube)[0])
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "node node1 is lost" in ended.message
    assert kube.runs(spec) == 2


def test_a_worker_that_failed_before_its_sibling_was_lost_is_the_end(kube: World) -> None:
    gate = 'while ! test -e "$FAKE_MOUNT__share_outgoing/gate"; do sleep 0.02; done; exit 9'
    script = sh(f'test "$JOB_COMPLETION_INDEX" = 1 && {{ {gate}; }}; trap "" TERM; sleep 1000 & wait')
    backend, spec = kube.worker(), kube.spec(script, number_of_workers=2)
    backend.submit(spec)
    wait_for("both run", lambda: [found["status"].get("phase") for found in pods_of(kube)] == ["Running"] * 2)
    [lost] = [found for found in pods_of(kube) if found["metadata"]["name"].rsplit("-", 2)[1] == "0"]
    kube.cluster.node.silent_for.add(lost["metadata"]["uid"])  # else it soon ends, because the other one has failed
    (kube.folder / spec.request.output_dir / "gate").touch()
    wait_for("one has failed", lambda: any(found["status"].get("phase") == "Failed" for found in pods_of(kube)))
    lose(kube, lost)
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)


# A node that is silent, and no pod is told to go: all nodes are, or the only one


@pytest.fixture
def a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the API server's clock."""
    now = connection.Api.now
    monkeypatch.setattr(connection.Api, "now", lambda api: (told := now(api)) and told + timedelta(days=1))


def silence(kube: World) -> None:
    """What Kubernetes does when no node answers: it marks pods as not ready, and leaves it at that."""
    kube.cluster.node.is_silent = True
    for found in pods_of(kube):
        kube.cluster.storage.update(key_of(found), mark_not_ready)


def mark_not_ready(found: dict[str, Any]) -> None:
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": LONG_AGO}
    others = [one for one in found["status"]["conditions"] if one["type"] != "Ready"]
    found["status"]["conditions"] = [*others, ready]


@pytest.mark.usefixtures("a_day_later")
def test_jobs_on_nodes_that_are_all_silent_go_on_and_their_message_tells_it(kube: World) -> None:
    """However long ago that was, and whatever the grace; the node that is back tells how they ended."""
    gate = 'while ! test -e "$FAKE_MOUNT__share_outgoing/gate"; do sleep 0.02; done; exit 9'
    backend, spec = kube.worker(node_lost_grace_s=0), kube.spec(sh(gate))
    backend.submit(spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    silence(kube)
    heard = seen(backend, spec, lambda found: bool(found.message))
    assert (heard.state, heard.message) == (
        State.RUNNING,
        f"node node1 does not answer since {LONG_AGO}; the job may go on there",
    )
    for _ in range(5):
        assert look(kube.worker(node_lost_grace_s=0), spec) == heard, "whoever looks"
    assert verdict_of(kube.cluster.jobs()[0]["metadata"]["annotations"]) is None
    (kube.folder / spec.request.output_dir / "gate").touch()
    kube.cluster.node.is_silent = False
    ended = seen(backend, spec)
    assert (ended.state, ended.exit_code, ended.message) == (State.FAILED, 9, describe_exit(9))


@pytest.mark.usefixtures("a_day_later")
def test_a_removal_waits_for_a_node_that_nobody_has_given_up(kube: World) -> None:
    """The job may go on there, so nothing may run in its folders."""
    backend, spec = running_job(kube)
    silence(kube)
    backend.remove(spec.jid, spec.generation)
    other = kube.worker(node_lost_grace_s=0)
    wait_for("the Job is gone", lambda: not kube.cluster.jobs())
    for _ in range(5):
        assert isinstance(look(other, spec), Unknown)
    assert kube.cluster.pods(), "its pod is there"
    kube.cluster.node.is_silent = False
    wait_for("it is gone", lambda: look(other, spec) == Absent())
    assert not kube.cluster.node.runs()


def test_terminated_pods_are_never_lost() -> None:
    assert lost_pods([pod("Failed", terminated(3), conditions=[LOST])], NOW, 0) == []
