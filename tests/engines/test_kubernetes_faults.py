"""What a cluster can suffer while jobs run on it, and that every job's state is still true.

The API server is killed and the kubelet stopped, so nothing else may use the cluster meanwhile.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from backends._kubernetes.connection import connect
from backends._kubernetes.errors import Expired
from backends._kubernetes.identity import selector
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.watch import Streams
from pman_core.states import State
from testbed import kit
from testbed.system import System, wait_for
from tests.engines.jobs import body, delete, get, post, traced, traces, wait_end, wait_status
from tests.engines.kube import NOWHERE, Cluster, access, cluster, kubectl, seen
from tests.engines.kube_system import left, need_kit, poor_access, start_system, wait_nothing_left

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(300)]

FAST = {"RECONCILE_S": "2", "REQUEUE_S": "1", "SUBMIT_LEASE_S": "45", "LOST_GRACE_S": "5"}
STOPPED_S = 60.0
"""Longer than the API server waits for a node: https://kubernetes.io/docs/reference/node/node-status/#heartbeats"""
SILENT = "does not answer since"
UNTIL_TOLD = 'while [ ! -e "$1/go" ]; do sleep 0.1; done'
"""Work that ends when it is told to, so that it surely goes on while the fault lasts."""


@pytest.fixture(scope="module")
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    need_kit(request)
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def shared(kube: Cluster) -> Iterator[System]:
    system = start_system(kube, "faults", KUBE_START_GRACE_S="300", **FAST)
    yield system
    system.close()


@pytest.fixture
def pman(kube: Cluster, shared: System, request: pytest.FixtureRequest) -> Iterator[System]:
    """All of pman; what a test has failed to delete is no burden of the next one."""
    yield shared
    kube.kubectl("delete", "resourcequotas", "--all")
    kube.kubectl("delete", "jobs,pods", "--all", "--wait=false")


def running(system: System, *jids: str, code: int = 0) -> None:
    for jid in jids:
        post(system, traced(jid, UNTIL_TOLD, code))
    for jid in jids:
        wait_status(system, jid, "started")


def go(system: System, *jids: str) -> None:
    for jid in jids:
        (system.store_base / jid / "out" / "go").touch()


def health(system: System) -> tuple[bool, str]:
    """Return what the API tells of the backend."""
    backend = requests.get(f"{system.url}/api/v1/", timeout=5).json().get("backend") or {}
    return bool(backend.get("ok")), str(backend.get("message"))


def wait_message(system: System, jid: str, part: str, timeout_s: float = 60) -> None:
    """Wait until a job that waits says why."""
    wait_for(f"{part!r} is the message of {jid}", lambda: part in get(system, jid)["message"], timeout_s)
    assert get(system, jid)["status"] == "notstarted"


def delete_all(kube: Cluster, system: System, *jids: str) -> None:
    for jid in jids:
        delete(system, jid)
    wait_nothing_left(kube, system)


# The parts of the cluster


def test_jobs_under_an_api_server_that_is_killed(kube: Cluster, pman: System) -> None:
    before, during, after = (["away-1", "away-2", "short"], ["sent-1", "sent-2"], ["after"])
    running(pman, *before, code=3)
    running(pman, "doomed")
    cursor = kube.backend({"pman_instance": "faults"}).cursor()
    with kit.without_api_server():
        go(pman, "short")
        for jid in during:
            post(pman, traced(jid))
        delete(pman, "doomed")
        for jid in during:
            wait_message(pman, jid, "the API server does not answer")
        wait_for("the API tells that the cluster does not answer", lambda: not health(pman)[0])
        assert {get(pman, jid)["status"] for jid in before} == {"started"}, "a server that is away says nothing"
    go(pman, *before)
    records = {jid: wait_end(pman, jid, 90) for jid in [*before, *during]}
    assert {(records[jid]["status"], records[jid]["exit_code"]) for jid in before} == {("finishedWithError", 3)}
    assert {records[jid]["status"] for jid in during} == {"finishedSuccessfully"}
    post(pman, traced(*after))
    assert wait_end(pman, "after")["status"] == "finishedSuccessfully"
    jids = [*before, *during, *after]
    assert [(traces(pman, jid), traces(pman, jid, "ends")) for jid in jids] == [(1, 1)] * len(jids)
    wait_for("what was deleted is gone", lambda: len(left(kube, "jobs")) == len(jids))
    wait_for("all is well again", lambda: health(pman)[0])
    missed = told_since(kube, cursor, len(jids))
    assert missed == dict.fromkeys(before, State.FAILED) | dict.fromkeys([*during, *after], State.SUCCEEDED)
    delete_all(kube, pman, *jids)


def told_since(kube: Cluster, cursor: str, jobs: int) -> dict[str, State]:
    """Return what a stream tells of so many jobs; they have ended."""
    stop, told = threading.Event(), {}
    for event in kube.backend({"pman_instance": "faults"}).watch(cursor, stop):
        if event.observed is not None:
            told[event.observed.jid] = event.observed.state
        if event.observed is None or len(told) == jobs:
            stop.set()
    return told


def test_a_watch_whose_place_has_expired(kube: Cluster) -> None:
    api = connect(KubernetesSettings(kubeconfig=str(access())))
    paths = {
        "jobs": f"/apis/batch/v1/namespaces/{kube.namespace}/jobs",
        "pods": f"/api/v1/namespaces/{kube.namespace}/pods",
    }
    with Streams(api, selector("expired"), paths, {"jobs": "1", "pods": "1"}) as streams, pytest.raises(Expired):
        wait_for("the server's 410", streams.take)
    api.close()
    backend = kube.backend()
    spec = kube.spec("exit 3")
    backend.submit(spec)
    seen(backend, spec)
    stop, told = threading.Event(), []
    for event in kube.backend().watch("1.1", stop):
        told += [] if event.observed is None else [event.observed]
        stop.set()
    assert [(observed.jid, observed.state, observed.exit_code) for observed in told] == [(spec.jid, State.FAILED, 3)]
    backend.remove(spec.jid, spec.generation)


def test_a_kubelet_that_hangs_for_a_minute(kube: Cluster, pman: System) -> None:
    running(pman, "long", "quick", code=3)
    with kit.stopped(kit.KUBELET):
        go(pman, "quick")
        hung_s = time.monotonic()
        post(pman, traced("during"))
        while time.monotonic() - hung_s < STOPPED_S:
            assert [get(pman, jid)["status"] for jid in ("long", "quick", "during")] == [
                "started",
                "started",
                "notstarted",
            ]
            time.sleep(0.2)  # a client that polls
        wait_for("the cluster has given its node up", lambda: "node.kubernetes.io/unreachable" in taints(kube))
        record = wait_for("the message tells it", lambda: SILENT in (found := get(pman, "long"))["message"] and found)
        assert record["status"] == "started", "and pman has not"
    assert (wait_end(pman, "quick")["status"], get(pman, "quick")["exit_code"]) == ("finishedWithError", 3)
    assert wait_end(pman, "during", 90)["status"] == "finishedSuccessfully"
    wait_for("the node answers", lambda: get(pman, "long")["message"] == "")
    assert get(pman, "long")["status"] == "started"
    go(pman, "long")
    assert wait_end(pman, "long")["exit_code"] == 3
    jids = ["long", "quick", "during"]
    assert [(traces(pman, jid), traces(pman, jid, "ends")) for jid in jids] == [(1, 1)] * 3
    assert len(left(kube, "jobs")) == 3
    delete_all(kube, pman, *jids)


def taints(kube: Cluster) -> str:
    return kube.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints}")


# Rights and room


def test_rights_that_are_missing_are_named_and_waited_for(kube: Cluster, tmp_path: Path) -> None:
    """From the start; and taken away while a job runs."""
    with private_pman(kube, "poor", KUBECONFIG=str(poor_access(kube, tmp_path, "poor"))) as pman:
        post(pman, traced("first"))
        wait_for("the API names the rule", lambda: 'resources: ["jobs"]\n  verbs: [create,' in health(pman)[1], 60)
        doctor = examine(pman)
        assert '- apiGroups: ["batch"]' in doctor
        assert get(pman, "first")["status"] == "notstarted"
        with rights(kube):
            assert wait_end(pman, "first", 90)["status"] == "finishedSuccessfully"
            wait_for("all is well", lambda: health(pman)[0], 60)
            running(pman, "second", code=3)
        post(pman, traced("third"))
        wait_message(pman, "third", 'cannot create resource "jobs"')
        go(pman, "second")
        assert get(pman, "second")["status"] == "started"
        with rights(kube):
            assert wait_end(pman, "third", 90)["status"] == "finishedSuccessfully"
            assert wait_end(pman, "second")["exit_code"] == 3
            jids = ["first", "second", "third"]
            assert [traces(pman, jid) for jid in jids] == [1, 1, 1]
            assert len(left(kube, "jobs")) == 3
            delete_all(kube, pman, *jids)


@contextmanager
def rights(kube: Cluster) -> Iterator[None]:
    """Give the service account what pman needs in the namespace, for a while."""
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "watch", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch", "deletecollection"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "pman"}, "rules": rules}
    kube.kubectl("apply", "-f", "-", given=role)
    kube.kubectl("create", "rolebinding", "pman", "--role=pman", f"--serviceaccount={kube.namespace}:poor")
    yield
    kube.kubectl("delete", "rolebinding", "pman")


@contextmanager
def private_pman(kube: Cluster, name: str, **env: str) -> Iterator[System]:
    """All of pman, that need not be well yet, for one test."""
    system = start_system(kube, name, is_ready=False, **FAST | env)
    try:
        wait_for("the API answers", lambda: answers(system), 30)
        yield system
    finally:
        system.close()


def answers(system: System) -> bool:
    try:
        return requests.get(f"{system.url}/api/v1/", timeout=5).ok
    except requests.RequestException:
        return False


def examine(system: System) -> str:
    """Return what ``pman doctor`` prints."""
    command = Path(sys.executable).parent / "pman"
    done = subprocess.run([command, "doctor"], env=system.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done.stdout
    return done.stdout


def test_a_namespace_without_room_is_waited_for(kube: Cluster, pman: System) -> None:
    """Room for Jobs, and for their pods."""
    running(pman, "has-room")
    kube.kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=1")
    wait_for("it is counted", lambda: '"count/jobs.batch":"1"' in used(kube, "jobs"))
    post(pman, traced("no-job"))
    wait_message(pman, "no-job", "exceeded quota: jobs")
    go(pman, "has-room")
    wait_end(pman, "has-room")
    delete(pman, "has-room")
    assert wait_end(pman, "no-job", 90)["status"] == "finishedSuccessfully"
    kube.kubectl("delete", "quota", "jobs")
    running(pman, "has-pod")
    kube.kubectl("create", "quota", "pods", "--hard=pods=1")
    wait_for("it is counted", lambda: '"pods":"1"' in used(kube, "pods"))
    post(pman, traced("no-pod"))
    wait_message(pman, "no-pod", "exceeded quota: pods")
    go(pman, "has-pod")
    wait_end(pman, "has-pod")
    delete(pman, "has-pod")
    assert wait_end(pman, "no-pod", 120)["status"] == "finishedSuccessfully"
    assert [traces(pman, jid) for jid in ("has-room", "no-job", "has-pod", "no-pod")] == [1] * 4
    delete_all(kube, pman, "no-job", "no-pod")


def used(kube: Cluster, quota: str) -> str:
    return kube.kubectl("get", "quota", quota, "-o", "jsonpath={.status.used}")


def test_a_namespace_that_is_not_there_is_waited_for(kube: Cluster) -> None:
    name = f"{kube.namespace}-later"
    with private_pman(kube, "early", JOB_NAMESPACE=name) as pman:
        post(pman, traced("early"))
        wait_for("the API tells it", lambda: f'JOB_NAMESPACE: namespaces "{name}" not found' in health(pman)[1], 60)
        assert get(pman, "early")["status"] == "notstarted"
        kubectl("create", "namespace", name)
        try:
            assert wait_end(pman, "early", 90)["status"] == "finishedSuccessfully"
            assert traces(pman, "early") == 1
            delete_all(Cluster(name, kube.store_base), pman, "early")
        finally:
            kubectl("delete", "namespace", name, "--wait=false")


# By hand


@pytest.mark.parametrize("how", ["background", "foreground", "orphan"])
def test_jobs_that_are_deleted_by_hand(kube: Cluster, pman: System, how: str) -> None:
    """One that runs and one that waits; and the pod of a third alone."""
    runs, waits, podless = (f"{how}-{name}" for name in ("runs", "waits", "podless"))
    running(pman, runs, podless, code=3)
    post(pman, body(waits, "true", image=NOWHERE))
    wait_message(pman, waits, "registry.invalid")
    kube.kubectl("delete", "pods", "-l", f"pman.chrisproject.org/jid={podless}", "--wait=false")
    for jid in (runs, waits):
        kube.kubectl("delete", "jobs", "-l", f"pman.chrisproject.org/jid={jid}", f"--cascade={how}", "--wait=false")
    if how == "orphan":
        go(pman, runs)
        record = wait_end(pman, runs)
        assert (record["status"], record["exit_code"]) == ("finishedWithError", 3), "its pod went on to its own end"
        assert get(pman, waits)["status"] == "notstarted", "its pod still waits"
    else:
        # Who heard of the last state knows the exit code; else the cluster denies the job for a while, and it is lost.
        for jid in (runs, waits):
            record = wait_end(pman, jid)
            assert (record["status"], record["reason"]) in {
                ("finishedWithError", "SIGNALLED"),
                ("finishedWithError", "VANISHED"),
                ("undefined", "VANISHED"),
            }, record
    record = wait_end(pman, podless)
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 137)
    assert [traces(pman, jid) for jid in (runs, podless, waits)] == [1, 1, 0]
    delete_all(kube, pman, runs, waits, podless)
