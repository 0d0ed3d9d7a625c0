"""What only Kubernetes has: images that never come, pods that may not be made, workers, evictions, the cost."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes import connection
from backends._kubernetes.identity import job_name
from backends._kubernetes.storage import storage_of
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, Reason, State
from testbed.system import wait_for
from tests.engines.kube import IMAGE, PATIENCE_S, Cluster, Counted, cluster, kubectl, look, missing, seen
from tests.engines.kube_system import poor_access

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180), pytest.mark.xdist_group("kubernetes-backend")]

NOWHERE = "registry.invalid/nothing:1"


@pytest.fixture(scope="module")
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if lacking := missing():
        required = "kubernetes" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    with cluster() as made:
        yield made


def ref(spec: JobSpec) -> JobRef:
    return JobRef(spec.jid, spec.generation)


def message_of(kube: Cluster, spec: JobSpec, part: str) -> Observed:
    """Wait until the message of a job that waits tells ``part``."""
    backend, found = kube.backend(), []

    def tells() -> bool:
        sighting = look(backend, spec)
        found[:] = [sighting]
        return isinstance(sighting, Observed) and part in sighting.message

    wait_for(f"{part} in the message", tells, PATIENCE_S)
    assert isinstance(found[0], Observed)
    return found[0]


# What does not start


def test_an_image_that_never_comes_fails_the_job_with_the_kubelets_words(kube: Cluster) -> None:
    backend = kube.backend(kube_start_grace_s=2)
    spec = kube.spec("exit 0", image=NOWHERE)
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.IMAGE_PULL, None)
    assert "registry.invalid" in found.message
    assert kube.pods(spec) == [], "nobody goes on pulling"
    kube.kubectl("wait", "job", job_name(spec.jid, spec.generation), "--for=condition=Failed", "--timeout=10s")
    assert seen(kube.backend(), spec) == found, "whoever comes later is told the same"
    assert kube.runs(spec) == 0


def test_the_stream_gives_up_by_itself(kube: Cluster) -> None:
    backend = kube.backend(kube_start_grace_s=2)
    cursor, stop = backend.cursor(), threading.Event()
    spec = kube.spec("exit 0", image=NOWHERE)
    backend.submit(spec)
    heard = []
    for event in backend.watch(cursor, stop):
        if event.observed is not None and event.observed.generation == spec.generation:
            heard.append(event.observed)
            if event.observed.state in TERMINAL:
                stop.set()
    assert heard[-1].reason is Reason.IMAGE_PULL
    assert any(observed.native_state in {"ErrImagePull", "ImagePullBackOff"} for observed in heard[:-1])


def test_an_image_that_is_late_is_waited_for(kube: Cluster) -> None:
    spec = kube.spec("exit 0", image=NOWHERE)
    kube.backend().submit(spec)
    waiting = message_of(kube, spec, "registry.invalid")
    assert waiting.state is State.PENDING


def test_a_job_that_fits_nowhere_waits_and_says_why(kube: Cluster) -> None:
    backend = kube.backend(kube_request_ratio=1)
    spec = kube.spec("exit 0", cpu_limit=900_000)
    backend.submit(spec)
    waiting = message_of(kube, spec, "Insufficient cpu")
    assert (waiting.state, waiting.native_state) == (State.PENDING, "Unschedulable")


def test_a_folder_that_the_node_has_not_got_fails_the_job(kube: Cluster) -> None:
    backend = kube.backend({"storebase": Path("/no/such/store")}, kube_start_grace_s=2)
    spec = kube.spec("exit 0")
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.START_FAILED)
    assert "FailedMount" in found.message
    assert "/no/such/store" in found.message


def test_a_pod_that_the_site_forbids_fails_the_job(kube: Cluster) -> None:
    with cluster() as strict:
        kubectl("label", "namespace", strict.namespace, "pod-security.kubernetes.io/enforce=restricted")
        backend = strict.backend(kube_start_grace_s=2)
        spec = strict.spec("exit 0")
        backend.submit(spec)
        found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.REJECTED)
    assert "violates PodSecurity" in found.message


def test_a_claim_is_all_that_the_strictest_namespace_needs(kube: Cluster) -> None:
    with cluster() as strict:
        kubectl("label", "namespace", strict.namespace, "pod-security.kubernetes.io/enforce=restricted")
        claim(strict)
        settings = {"storage_type": "kubernetes_pvc", "volume_name": "store", "securitycontext_run_as_user": 1234}
        backend = strict.backend(settings, kube_start_grace_s=10)
        spec = strict.spec('id -u > "$0/uid"; ! touch /share/incoming/x')
        backend.submit(spec)
        assert seen(backend, spec).state is State.SUCCEEDED
        assert (strict.store_base / spec.request.output_dir / "uid").read_text() == "1234\n"


def claim(kube: Cluster) -> None:
    """Give the store to a claim."""
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": kube.namespace},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "hostPath": {"path": str(kube.store_base)},
            "claimRef": {"namespace": kube.namespace, "name": "store"},
        },
    }
    wish = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "store"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": kube.namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    for item in (volume, wish):
        kube.kubectl("apply", "-f", "-", given=item)


def test_a_full_quota_is_waited_for(kube: Cluster) -> None:
    with cluster() as full:
        full.kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=1")
        backend = full.backend()
        first, second = full.spec("exit 0"), full.spec("exit 0")

        def is_taken() -> bool:
            try:
                backend.submit(first)
            except Unavailable:  # the quota is not counted yet
                return False
            return True

        wait_for("the first is taken", is_taken, PATIENCE_S)
        with pytest.raises(Unavailable, match="exceeded quota: jobs"):
            backend.submit(second)
        seen(backend, first)
        backend.remove(first.jid, first.generation)

        def has_room() -> bool:
            try:
                backend.submit(second)
            except Unavailable:
                return False
            return True

        wait_for("there is room again", has_room, PATIENCE_S)


# What ends otherwise


def test_a_pod_that_is_deleted_by_hand_fails_the_job_once(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("sleep 60")
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    wait_for("it has begun", lambda: kube.runs(spec), PATIENCE_S)
    kube.kubectl("delete", *kube.pods(spec), "--wait=false")
    found = seen(backend, spec)
    assert (found.state, found.exit_code) == (State.FAILED, 137)
    assert kube.runs(spec) == 1


def test_a_pod_that_is_evicted_fails_the_job_once(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("sleep 60")
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    wait_for("it has begun", lambda: kube.runs(spec), PATIENCE_S)
    [pod] = kube.pods(spec)
    name = pod.removeprefix("pod/")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{kube.namespace}/pods/{name}/eviction", "-f", "-", given=body)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert kube.runs(spec) == 1


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
    spec = kube.spec("sleep 60", cpu_limit=500 * cpus)
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    wait_for("it has begun", lambda: kube.runs(spec), PATIENCE_S)
    container = {"name": "urgent", "image": IMAGE, "command": ["sleep", "60"]}
    container["resources"] = {"requests": {"cpu": f"{750 * cpus}m"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "urgent"}}
    kube.kubectl("create", "-f", "-", given=pod | {"spec": {"priorityClassName": urgent, "containers": [container]}})
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "preempt" in found.message, "in the scheduler's words, or in ours if its pod is gone by then"
    assert kube.runs(spec) == 1


def test_a_job_that_is_deleted_by_hand_is_absent_when_nothing_of_it_is_left(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("sleep 60")
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
    assert kube.pods(spec) == []


def test_a_job_that_was_ended_while_suspended_does_not_run_when_it_is_resumed(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("exit 0", cpu_limit=100_000_000)
    backend.submit(spec)
    seen(backend, spec, State.PENDING)
    name = job_name(spec.jid, spec.generation)
    kube.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    kube.kubectl("wait", "job", name, "--for=condition=Suspended", f"--timeout={PATIENCE_S // 2}s")
    backend.end(spec.jid, spec.generation)
    assert seen(backend, spec).state is State.CANCELLED
    kube.kubectl("patch", "job", name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
    kube.kubectl("wait", "job", name, "--for=condition=Failed", f"--timeout={PATIENCE_S // 2}s")
    assert kube.pods(spec) == []
    assert seen(backend, spec).state is State.CANCELLED


# Workers


def test_all_workers_run_and_each_has_its_log(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec('echo "it is number $JOB_COMPLETION_INDEX"', number_of_workers=3, jid="x" * 253)
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED
    assert kube.runs(spec) == 3
    for reader in (backend, kube.backend()):
        assert reader.logs(ref(spec), 100, 10_000) == "".join(
            f"--- worker {number + 1} of 3 ---\nit is number {number}\n" for number in range(3)
        )


def test_one_worker_that_fails_ends_the_others_and_none_begins_anew(kube: Cluster) -> None:
    backend = kube.backend()
    script = 'if [ $JOB_COMPLETION_INDEX = 1 ]; then until [ -e "$0/go" ]; do sleep 0.1; done; exit 9; fi; sleep 60'
    spec = kube.spec(script, number_of_workers=3)
    backend.submit(spec)
    wait_for("all have begun", lambda: kube.runs(spec) == 3, PATIENCE_S)
    (kube.store_base / spec.request.output_dir / "go").touch()
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)
    assert kube.runs(spec) == 3


@pytest.mark.parametrize("when_told_to_go", ["", "exit 0"])
def test_the_stream_keeps_what_the_workers_said_that_a_failure_takes_down(kube: Cluster, when_told_to_go: str) -> None:
    backend = kube.backend()
    cursor, stop = backend.cursor(), threading.Event()
    script = (
        f'trap \'{when_told_to_go}\' TERM; echo "I am $JOB_COMPLETION_INDEX"; until [ -e "$0/go" ]; do sleep 0.1; done;'
        " [ $JOB_COMPLETION_INDEX = 1 ] && exit 9; while :; do sleep 0.1; done"
    )
    spec = kube.spec(script, number_of_workers=3)
    backend.submit(spec)
    wait_for("all have begun", lambda: kube.runs(spec) == 3, PATIENCE_S)
    (kube.store_base / spec.request.output_dir / "go").touch()
    for event in backend.watch(cursor, stop):
        observed = event.observed
        if observed is not None and observed.generation == spec.generation and observed.state in TERMINAL:
            stop.set()
    wait_for("the pods of the others are gone", lambda: len(kube.pods(spec)) == 1, PATIENCE_S)
    assert backend.logs(ref(spec), 100, 10_000) == "".join(
        f"--- worker {number + 1} of 3 ---\nI am {number}\n" for number in range(3)
    )


def create_beside(kube: Cluster, backend: KubernetesBackend, spec: JobSpec, other: str, **more: Any) -> None:
    """Submit a job as if a webhook of the site had put a container into its pod."""
    body = backend._build(spec, storage_of(kube.settings()).volumes(spec, None))
    pod = body["spec"]["template"]["spec"]
    pod["containers"].append({"name": "proxy", "image": IMAGE, "command": ["sh", "-c", other]})
    pod |= more
    kube.kubectl("create", "-f", "-", given=body)


@pytest.mark.parametrize(("own", "other"), [("exit 0", "sleep 60"), ("exit 3", "sleep 60"), ("exit 0", "exit 1")])
def test_a_container_that_the_site_puts_beside_does_not_decide(kube: Cluster, own: str, other: str) -> None:
    backend, spec = kube.backend(), kube.spec(own)
    create_beside(kube, backend, spec, other)
    found = seen(backend, spec)
    code = int(own[-1])
    assert (found.state, found.exit_code) == (State.FAILED if code else State.SUCCEEDED, code)
    backend.remove(spec.jid, spec.generation)
    wait_for("it is gone", lambda: look(backend, spec) == Absent(), PATIENCE_S)


def test_a_worker_that_fails_beside_a_proxy_ends_the_others(kube: Cluster) -> None:
    backend = kube.backend()
    spec = kube.spec("[ $JOB_COMPLETION_INDEX = 1 ] && exit 9; sleep 300", number_of_workers=2)
    create_beside(kube, backend, spec, "sleep 300")
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)
    assert kube.runs(spec) == 2


def test_a_job_that_ended_before_its_proxy_ran_into_the_time_limit_has_ended_so(kube: Cluster) -> None:
    """Whoever looks only then, as after a wipe, must tell the end that others have told before."""
    backend, spec = kube.backend(), kube.spec("exit 0")
    create_beside(kube, backend, spec, "sleep 60", activeDeadlineSeconds=5)
    found = seen(backend, spec)
    assert (found.state, found.exit_code) == (State.SUCCEEDED, 0)
    name = job_name(spec.jid, spec.generation)
    kube.kubectl("wait", "job", name, "--for=condition=Failed", f"--timeout={PATIENCE_S}s")
    late = seen(kube.backend(), spec)
    assert (late.state, late.exit_code, late.finished_at) == (State.SUCCEEDED, 0, found.finished_at)


# What it is


def test_a_job_has_no_rights_and_no_token(kube: Cluster) -> None:
    backend = kube.backend({"shm_size": 8, "enable_home_workaround": True})
    look_around = (
        'cd "$0"; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status > rights;'
        ' ls /var/run/secrets > secrets 2>&1; df -k /dev/shm | tail -1 > shm; echo "$HOME" > home'
    )
    spec = kube.spec(look_around)
    backend.submit(spec)
    seen(backend, spec)
    output = kube.store_base / spec.request.output_dir
    rights = dict(line.split(":\t") for line in (output / "rights").read_text().splitlines())
    assert rights == {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
    assert "No such file" in (output / "secrets").read_text()
    assert (output / "shm").read_text().split()[1] == "8192"
    assert (output / "home").read_text() == "/tmp\n"


def test_a_job_that_is_too_large_is_refused_by_us(kube: Cluster) -> None:
    backend = kube.backend()
    with pytest.raises(Rejected, match="too large for Kubernetes"):
        backend.submit(kube.spec("exit 0", args=("x" * 100_000,) * 3))
    largest = kube.spec("exit 0", args=("x" * 100_000,) * 2)
    backend.submit(largest)
    backend.end(largest.jid, largest.generation)
    seen(backend, largest)


def test_an_overlay_is_shown_to_the_server_before_the_first_job(kube: Cluster, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("spec: {tolerations: [{kee: x}]}")
    with pytest.raises(Rejected, match=r"KUBE_POD_OVERLAY: .*tolerations"):
        kube.backend(kube_pod_overlay=overlay)
    overlay.write_text("spec: {hostAliases: [{ip: 10.1.2.3, hostnames: [pacs.example.org]}]}")
    backend = kube.backend(kube_pod_overlay=overlay)
    spec = kube.spec("grep -q pacs.example.org /etc/hosts")
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED


# What it costs


@pytest.mark.parametrize("script", ["echo out", "exit 3"])
def test_a_job_costs_four_calls(kube: Cluster, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(connection, "Api", Counted)
    monkeypatch.setattr(Counted, "calls", calls := [], raising=False)
    backend = kube.backend()
    spec = kube.spec(script)
    calls.clear()
    handle = backend.submit(spec)
    own = len(calls)
    ended = seen(backend, spec)
    calls.clear()
    backend.logs(JobRef(spec.jid, spec.generation, handle), 100, 1000)
    assert backend.remove(spec.jid, spec.generation), "and to verify it costs nothing"
    own += len(calls)
    assert own == 4, calls
    assert look(backend, spec) == Absent()
    assert ended.state in TERMINAL


def test_a_listing_costs_two_calls_for_any_number_of_jobs(kube: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "Api", Counted)
    monkeypatch.setattr(connection, "PAGE", 2)
    monkeypatch.setattr(Counted, "calls", calls := [], raising=False)
    backend = kube.backend({"pman_instance": "many"})
    specs = [JobSpec(spec.generation, "many", spec.request) for spec in (kube.spec("exit 0") for _ in range(3))]
    for spec in specs:
        backend.submit(spec)
    for spec in specs:
        seen(backend, spec)
    calls.clear()
    found = backend.observe([ref(spec) for spec in specs])
    assert len(calls) == 4, "two pages each"
    assert {sighting.state for sighting in found.values() if isinstance(sighting, Observed)} == {State.SUCCEEDED}


# Rights


def test_missing_rights_are_told_as_a_rule(kube: Cluster, tmp_path: Path) -> None:
    config = poor_access(kube, tmp_path, "poor")
    kube.kubectl("create", "role", "poor", "--verb=get,list,watch", "--resource=jobs.batch")
    kube.kubectl("create", "rolebinding", "poor", "--role=poor", f"--serviceaccount={kube.namespace}:poor")
    backend = kube.backend(kubeconfig=str(config), kube_context="poor")
    health = backend.health()
    assert not health.ok
    assert '- apiGroups: ["batch"]\n  resources: ["jobs"]\n  verbs: [create, patch, delete]' in health.message
    with pytest.raises(Unavailable, match='cannot create resource "jobs"'):
        backend.submit(kube.spec("exit 0"))
    with pytest.raises(Unavailable, match='cannot list resource "pods"'):
        look(backend, kube.spec("exit 0"))
    assert kube.backend().health().ok


def test_a_namespace_that_is_not_there_is_not_taken_for_an_empty_one(kube: Cluster, tmp_path: Path) -> None:
    backend = kube.backend({"job_namespace": "pman-no-such-namespace"})
    with pytest.raises(Unavailable, match='JOB_NAMESPACE: namespaces "pman-no-such-namespace" not found'):
        look(backend, kube.spec("exit 0"))
    assert "pman-no-such-namespace" in backend.health().message
    config = poor_access(kube, tmp_path, "modest")
    kube.kubectl("create", "role", "modest", "--verb=list", "--resource=jobs.batch,pods")
    kube.kubectl("create", "rolebinding", "modest", "--role=modest", f"--serviceaccount={kube.namespace}:modest")
    assert look(kube.backend(kubeconfig=str(config), kube_context="modest"), kube.spec("exit 0")) == Absent()
