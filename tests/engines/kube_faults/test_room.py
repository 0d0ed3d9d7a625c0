"""What a cluster does not let pman do: rights, room in a namespace, the namespace itself."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, delete, get, go, post, running, traced, traces, wait_end
from tests.engines.kube import Cluster, kubectl
from tests.engines.kube_faults.pman import delete_all, health, private_pman, wait_message
from tests.engines.kube_system import left, poor_access, wait_may

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(900)]


def test_rights_that_are_missing_are_named_and_waited_for(kube: Cluster, tmp_path: Path) -> None:
    """From the start; and taken away while a job runs."""
    with private_pman(kube, "poor", KUBECONFIG=str(poor_access(kube, tmp_path, "poor"))) as pman:
        post(pman, traced("first"))
        wait_for(
            "the API names the rule", lambda: 'resources: ["jobs"]\n  verbs: [create,' in health(pman)[1], PATIENCE_S
        )
        doctor = examine(pman)
        assert '- apiGroups: ["batch"]' in doctor
        assert get(pman, "first")["status"] == "notstarted"
        with rights(kube):
            assert wait_end(pman, "first")["status"] == "finishedSuccessfully"
            wait_for("all is well", lambda: health(pman)[0], PATIENCE_S)
            running(pman, "second", code=3)
        post(pman, traced("third"))
        wait_message(pman, "third", 'cannot create resource "jobs"')
        # A watch that is open stays open: the end may be told of at once.
        assert get(pman, "second")["status"] == "started"
        go(pman, "second")
        with rights(kube):
            assert wait_end(pman, "third")["status"] == "finishedSuccessfully"
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
    wait_may(kube, "poor", "create", "jobs.batch")
    yield
    kube.kubectl("delete", "rolebinding", "pman")
    wait_may(kube, "poor", "create", "jobs.batch", "no")


def examine(system: System) -> str:
    """Return what ``pman doctor`` prints."""
    argv = [Path(sys.executable).parent / "pman", "doctor"]
    done = subprocess.run(argv, env=system.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode != 0, done.stdout
    return done.stdout


def test_a_namespace_without_room_is_waited_for(kube: Cluster, pman: System) -> None:
    """Room for Jobs, and for their pods."""
    running(pman, "has-room")
    kube.kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=1")
    wait_for("it is counted", lambda: '"count/jobs.batch":"1"' in used(kube, "jobs"), PATIENCE_S)
    post(pman, traced("no-job"))
    wait_message(pman, "no-job", "exceeded quota: jobs")
    go(pman, "has-room")
    wait_end(pman, "has-room")
    delete(pman, "has-room")
    assert wait_end(pman, "no-job")["status"] == "finishedSuccessfully"
    kube.kubectl("delete", "quota", "jobs")
    running(pman, "has-pod")
    kube.kubectl("create", "quota", "pods", "--hard=pods=1")
    wait_for("it is counted", lambda: '"pods":"1"' in used(kube, "pods"), PATIENCE_S)
    post(pman, traced("no-pod"))
    wait_message(pman, "no-pod", "exceeded quota: pods")
    go(pman, "has-pod")
    wait_end(pman, "has-pod")
    delete(pman, "has-pod")
    assert wait_end(pman, "no-pod")["status"] == "finishedSuccessfully"
    assert [traces(pman, jid) for jid in ("has-room", "no-job", "has-pod", "no-pod")] == [1] * 4
    delete_all(kube, pman, "no-job", "no-pod")


def used(kube: Cluster, quota: str) -> str:
    return kube.kubectl("get", "quota", quota, "-o", "jsonpath={.status.used}")


def test_a_namespace_that_is_not_there_is_waited_for(kube: Cluster) -> None:
    name = f"{kube.namespace}-later"
    with private_pman(kube, "early", JOB_NAMESPACE=name) as pman:
        post(pman, traced("early"))
        wait_for(
            "the API tells it", lambda: f'JOB_NAMESPACE: namespaces "{name}" not found' in health(pman)[1], PATIENCE_S
        )
        assert get(pman, "early")["status"] == "notstarted"
        kubectl("create", "namespace", name)
        try:
            assert wait_end(pman, "early")["status"] == "finishedSuccessfully"
            assert traces(pman, "early") == 1
            delete_all(Cluster(name, kube.store_base), pman, "early")
        finally:
            kubectl("delete", "namespace", name, "--wait=false")
