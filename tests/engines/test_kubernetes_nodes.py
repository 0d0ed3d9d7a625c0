"""A node that does not answer, while its object stays in the cluster: what becomes of the jobs on it.

A stopped kubelet is a lost node. That the cluster gives it up takes five minutes and more; a taint, set by hand, does
at once what the taint of an unreachable node does then. Nothing else may use the cluster meanwhile.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends._kubernetes.identity import VERDICT, job_name
from pman_core.backend import JobRef
from pman_core.states import Reason, State
from testbed import kit
from testbed.system import System, wait_for
from tests.engines.jobs import delete, get, post, traced, traces, wait_end, wait_status
from tests.engines.kube import LONG, PATIENCE_S, Cluster, cluster, kubectl, look, seen
from tests.engines.kube_system import left, need_kit, start_system

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(600)]

TAINT = "pman.chrisproject.org/test-lost"
GIVEN_UP = "DeletionByTaintManager"
GRACE_S = 15.0
"""Longer than a test needs to see that a pod was told to go, and is not given up yet."""
LONG_GRACE_S = 300.0
BEAT = 'while :; do echo beat >> "$1/beats"; sleep 0.2; done'
STILL_S = 5.0
"""So long without a beat, of which there are five a second."""
GHOST = "pman-test-ghost"


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    need_kit(request)
    with cluster() as made:
        yield made


@pytest.fixture
def pman(kube: Cluster) -> Iterator[System]:
    system = start_system(kube, "nodes", NODE_LOST_GRACE_S=str(GRACE_S), RECONCILE_S="2")
    yield system
    system.close()


def real_node() -> str:
    return kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")


@contextmanager
def given_up(node: str) -> Iterator[None]:
    """Have the cluster tell all pods of a node to go."""
    kubectl("taint", "nodes", node, f"{TAINT}:NoExecute")
    try:
        yield
    finally:
        kubectl("taint", "nodes", node, f"{TAINT}-")


def beats(folder: Path) -> int:
    path = folder / "beats"
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_still(folder: Path) -> None:
    """Wait until the container that beats there has been ended."""
    last, since_s = beats(folder), time.monotonic()

    def is_still() -> bool:
        nonlocal last, since_s
        if (now := beats(folder)) != last:
            last, since_s = now, time.monotonic()
        return time.monotonic() - since_s > STILL_S

    wait_for("its container is ended", is_still, PATIENCE_S)


def test_jobs_on_a_node_that_is_lost_have_failed_and_are_ended_when_it_is_back(kube: Cluster, pman: System) -> None:
    """One is told as failed, one was deleted, and nothing of either is left running or runs again."""
    for jid in ("lost", "deleted"):
        post(pman, traced(jid, BEAT))
    for jid in ("lost", "deleted"):
        wait_status(pman, jid, "started")
        wait_for("it beats", lambda jid=jid: beats(pman.store_base / jid / "out"), PATIENCE_S)
    node = real_node()
    with kit.stopped_kubelet():
        delete(pman, "deleted")
        with given_up(node):
            # Who looks seldom enough is only told the end, which says it, too; that there is a grace is the next test.
            wait_for("the message tells it", lambda: GIVEN_UP in get(pman, "lost")["message"], PATIENCE_S)
            record = wait_end(pman, "lost")
            assert (record["status"], record["reason"]) == ("finishedWithError", "NODE_FAIL")
            assert f"node {node} is lost" in record["message"]
            wait_for("no pod is left", lambda: not left(kube, "pods"), PATIENCE_S)
            store = pman.connect_store()
            wait_for("the removal is settled", lambda: not store.counts("kubernetes")["obligations"], PATIENCE_S)
    for jid in ("lost", "deleted"):
        wait_still(pman.store_base / jid / "out")
    assert get(pman, "lost") == record, "the node is back and tells another story"
    assert [(traces(pman, jid), traces(pman, jid, "ends")) for jid in ("lost", "deleted")] == [(1, 0)] * 2
    delete(pman, "lost")
    wait_for("nothing is left", lambda: not left(kube), PATIENCE_S)


def test_a_node_that_is_back_within_the_grace_tells_the_end_itself(kube: Cluster) -> None:
    backend = kube.backend(node_lost_grace_s=LONG_GRACE_S)
    spec = kube.spec(LONG)
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    wait_for("it has begun", lambda: kube.runs(spec), PATIENCE_S)
    with kit.stopped_kubelet(), given_up(real_node()):
        wait_for("the message tells it", lambda: GIVEN_UP in str(look(backend, spec)), PATIENCE_S)
        assert seen(backend, spec, State.RUNNING)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    name = job_name(spec.jid, spec.generation)
    assert VERDICT not in json.loads(kube.kubectl("get", "job", name, "-o", "json"))["metadata"]["annotations"]
    assert kube.runs(spec) == 1


@pytest.fixture
def ghost() -> Iterator[str]:
    """A node that is Ready by its own word alone: nobody is behind it."""
    labels = {"kubernetes.io/hostname": GHOST}
    kubectl(
        "create", "-f", "-", given={"apiVersion": "v1", "kind": "Node", "metadata": {"name": GHOST, "labels": labels}}
    )
    try:
        room = {"cpu": "8", "memory": "8Gi", "pods": "10"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        patch(f"node/{GHOST}", {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}})
        wait_for(
            "it takes pods",
            lambda: kubectl("get", "node", GHOST, "-o", "jsonpath={.spec.taints}") == "",
            PATIENCE_S,
        )
        yield GHOST
    finally:
        kubectl("delete", "node", GHOST)


def patch(what: str, change: object, *more: str) -> None:
    kubectl(*more, "patch", what, "--subresource=status", "--type=merge", "-p", json.dumps(change))


def test_a_worker_on_a_lost_node_ends_its_siblings_and_none_begins_anew(
    kube: Cluster, ghost: str, tmp_path: Path
) -> None:
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"pman.chrisproject.org/instance": "engines"}},
    }
    (tmp_path / "overlay.json").write_text(json.dumps({"spec": {"topologySpreadConstraints": [apart]}}))
    backend = kube.backend(node_lost_grace_s=GRACE_S, kube_pod_overlay=tmp_path / "overlay.json")
    spec = kube.spec(f"echo begun; {LONG}", number_of_workers=2)
    backend.submit(spec)
    wait_for("the one on the real node runs", lambda: kube.runs(spec) == 1, PATIENCE_S)
    there = ("get", "pods", f"--field-selector=spec.nodeName={ghost}", "-o", "jsonpath={.items[*].metadata.name}")
    name = wait_for("the other one is on the ghost", lambda: kube.kubectl(*there), PATIENCE_S)
    running = {"name": "plugin", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "ready": True}
    running |= {"image": "i", "imageID": "i", "restartCount": 0}
    patch(f"pod/{name}", {"status": {"phase": "Running", "containerStatuses": [running]}}, "-n", kube.namespace)
    seen(backend, spec, State.RUNNING)
    [real] = set(kube.pods(spec)) - {f"pod/{name}"}
    wait_for("that one has said it", lambda: "begun" in kube.kubectl("logs", real, check=False), PATIENCE_S)
    with given_up(ghost):
        found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert f"node {ghost} is lost" in found.message
    assert kube.runs(spec) == 1, "no other pod was made for either worker"
    assert "begun" in backend.logs(JobRef(spec.jid, spec.generation), 10, 1000), "the log of the other is there"
    backend.remove(spec.jid, spec.generation)
