"""What ends a job on a real cluster besides itself: people with kubectl, evictions, preemption."""

from collections.abc import Iterator

import pytest

from backends._kubernetes.identity import job_name
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Absent
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.engines.kube import IMAGE, LONG, NOWHERE, PATIENCE_S, Cluster, kubectl, look, seen

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


HOLD = '[{"op": "add", "path": "/metadata/finalizers/-", "value": "pman.chrisproject.org/test-hold"}]'
"""Keeps a pod that has ended from being taken away, as finalizers of a site's own do: what else is seen for a moment
alone is then there to be seen.
https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/"""


def begin(kube: Cluster, backend: KubernetesBackend, spec: JobSpec) -> None:
    """Submit a job, and wait until the cluster says that it runs and its program that it has begun."""
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    wait_for("it has begun", lambda: kube.runs(spec), PATIENCE_S)


def test_a_pod_that_is_deleted_by_hand_fails_the_job_once(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec(LONG)
    begin(kube, backend, spec)
    kube.kubectl("delete", *kube.pods(spec), "--wait=false")
    found = seen(backend, spec)
    assert (found.state, found.exit_code) == (State.FAILED, 137)
    assert kube.runs(spec) == 1


def evict(kube: Cluster, pod: str) -> None:
    name = pod.removeprefix("pod/")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{kube.namespace}/pods/{name}/eviction", "-f", "-", given=body)


def test_a_pod_that_is_evicted_fails_the_job_once(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec(LONG)
    begin(kube, backend, spec)
    [pod] = kube.pods(spec)
    evict(kube, pod)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert kube.runs(spec) == 1


def test_a_worker_that_is_evicted_is_the_end_and_not_the_other_that_goes_for_it(kube: Cluster) -> None:
    """The evicted one is the first that is gone; the other one is held, so that it is surely seen with the end."""
    backend = kube.backend()
    spec = kube.spec(LONG, number_of_workers=2)
    backend.submit(spec)
    wait_for("both have begun", lambda: kube.runs(spec) == 2, PATIENCE_S)
    other, evicted = sorted(kube.pods(spec))
    kube.kubectl("patch", other, "--type=json", "-p", HOLD)
    evict(kube, evicted)
    name = job_name(spec.jid, spec.generation)
    kube.kubectl("wait", "job", name, "--for=condition=Failed", f"--timeout={PATIENCE_S}s")
    wait_for("the evicted one is gone", lambda: kube.pods(spec) == [other], PATIENCE_S)
    found = seen(backend, spec)
    kube.kubectl("patch", other, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "disrupted" in found.message
    assert kube.runs(spec) == 2


@pytest.mark.parametrize("how", ["deleted", "evicted"])
def test_a_pod_that_goes_before_it_has_begun_has_no_exit_code_to_tell(kube: Cluster, how: str) -> None:
    """Kubernetes has one, which it has made up. It is seen with the pod, which is held."""
    backend = kube.backend(kube_start_grace_s=PATIENCE_S)
    spec = kube.spec("exit 0", image=NOWHERE)
    backend.submit(spec)
    wait_for("its node has it", lambda: "registry.invalid" in str(look(backend, spec)), PATIENCE_S)
    [pod] = kube.pods(spec)
    kube.kubectl("patch", pod, "--type=json", "-p", HOLD)
    if how == "evicted":
        evict(kube, pod)
    else:
        kube.kubectl("delete", pod, "--wait=false")
    found = seen(backend, spec)
    status = kube.kubectl("get", pod, "-o", "jsonpath={.status}")
    kube.kubectl("patch", pod, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    reason = {"deleted": Reason.VANISHED, "evicted": Reason.NODE_FAIL}[how]
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, reason, None), status


def test_a_job_whose_own_deadline_the_site_has_set_ends_by_that(kube: Cluster) -> None:
    """With its pod, which is held, and without."""
    backend = kube.backend()
    spec = kube.spec(LONG)
    begin(kube, backend, spec)
    [pod], name = kube.pods(spec), job_name(spec.jid, spec.generation)
    kube.kubectl("patch", pod, "--type=json", "-p", HOLD)
    kube.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    found = seen(backend, spec)
    kube.kubectl("patch", pod, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.TIME_LIMIT, None)
    kube.wait_no_pods(spec)
    late = seen(kube.backend(), spec)
    assert (late.state, late.reason, late.exit_code) == (State.FAILED, Reason.TIME_LIMIT, None)


@pytest.fixture
def urgent(kube: Cluster) -> Iterator[str]:
    """A priority above that of the jobs."""
    name = f"{kube.namespace}-urgent"
    made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
    kubectl("create", "-f", "-", given=made)
    yield name
    kube.kubectl("delete", "pod", "urgent", "--ignore-not-found", "--now", "--wait=false")
    kubectl("delete", "priorityclass", name)


def test_a_pod_that_is_preempted_fails_the_job_once(kube: Cluster, urgent: str) -> None:
    """The scheduler takes the half of a node from a job for a pod that needs three quarters of it."""
    cpus = int(kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"))
    backend = kube.backend(kube_request_ratio=1)
    spec = kube.spec(LONG, cpu_limit=500 * cpus)
    begin(kube, backend, spec)
    container = {"name": "urgent", "image": IMAGE, "command": LONG.split()}
    container["resources"] = {"requests": {"cpu": f"{750 * cpus}m"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "urgent"}}
    kube.kubectl("create", "-f", "-", given=pod | {"spec": {"priorityClassName": urgent, "containers": [container]}})
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "preempt" in found.message, "in the scheduler's words, or in ours if its pod is gone by then"
    assert kube.runs(spec) == 1


def test_a_job_that_is_deleted_by_hand_is_absent_when_nothing_of_it_is_left(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec(LONG)
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    kube.kubectl("delete", "job", job_name(spec.jid, spec.generation), "--wait=false")
    wait_for("it is absent", lambda: look(backend, spec) == Absent(), PATIENCE_S)
    assert kube.pods(spec) == []


def test_a_job_that_waits_is_ended_without_ever_running(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("exit 0", image=NOWHERE)
    backend.submit(spec)
    seen(backend, spec, State.PENDING)
    backend.end(spec.jid, spec.generation)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.started_at) == (State.CANCELLED, Reason.CANCELLED, None)
    kube.wait_no_pods(spec)


def test_a_job_that_was_ended_while_suspended_does_not_run_when_it_is_resumed(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("exit 0", cpu_limit=100_000_000)
    backend.submit(spec)
    seen(backend, spec, State.PENDING)
    name = job_name(spec.jid, spec.generation)
    kube.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    kube.kubectl("wait", "job", name, "--for=condition=Suspended", f"--timeout={PATIENCE_S}s")
    backend.end(spec.jid, spec.generation)
    assert seen(backend, spec).state is State.CANCELLED
    kube.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    kube.kubectl("wait", "job", name, "--for=condition=Failed", f"--timeout={PATIENCE_S}s")
    assert kube.pods(spec) == []
    assert seen(backend, spec).state is State.CANCELLED
