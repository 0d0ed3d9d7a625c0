"""What does not start on a real cluster: what is waited for, what fails the job, and in whose words."""

import threading
from pathlib import Path

import pytest

from backends._kubernetes.identity import job_name
from pman_core.backend import Observed
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, Reason, State
from testbed.system import wait_for
from tests.engines.kube import NOWHERE, PATIENCE_S, Cluster, cluster, look, seen

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

STRICTEST = {"pod-security.kubernetes.io/enforce": "restricted"}


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


def test_an_image_that_never_comes_fails_the_job_with_the_kubelets_words(kube: Cluster) -> None:
    backend = kube.backend(kube_start_grace_s=2)
    spec = kube.spec("exit 0", image=NOWHERE)
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.IMAGE_PULL, None)
    assert "registry.invalid" in found.message
    kube.wait_no_pods(spec)  # nobody goes on pulling
    kube.kubectl(
        "wait", "job", job_name(spec.jid, spec.generation), "--for=condition=Failed", f"--timeout={PATIENCE_S}s"
    )
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


def test_a_command_that_is_not_there_has_no_exit_code(kube: Cluster) -> None:
    """Kubernetes has one, which its container runtime has made up."""
    backend = kube.backend()
    spec = kube.spec("", entrypoint=("/no/such/command",))
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.START_FAILED, None)
    assert "/no/such/command" in found.message


def test_a_folder_that_the_node_has_not_got_fails_the_job(kube: Cluster) -> None:
    backend = kube.backend({"storebase": Path("/no/such/store")}, kube_start_grace_s=2)
    spec = kube.spec("exit 0")
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.START_FAILED)
    assert "FailedMount" in found.message
    assert "/no/such/store" in found.message


def test_a_pod_that_the_site_forbids_fails_the_job(kube: Cluster) -> None:
    with cluster(**STRICTEST) as strict:
        backend = strict.backend(kube_start_grace_s=2)
        spec = strict.spec("exit 0")
        backend.submit(spec)
        found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.REJECTED)
    assert "violates PodSecurity" in found.message


def test_a_claim_is_all_that_the_strictest_namespace_needs(kube: Cluster) -> None:
    with cluster(**STRICTEST) as strict:
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


def used(kube: Cluster) -> str:
    """Return how many Jobs the quota counts; empty if it has not counted yet."""
    return kube.kubectl("get", "quota", "jobs", "-o", r"jsonpath={.status.used.count/jobs\.batch}")


def test_a_full_quota_is_waited_for(kube: Cluster) -> None:
    with cluster() as full:
        full.kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=1")
        backend = full.backend()
        first, second = full.spec("exit 0"), full.spec("exit 0")
        # As long as nobody has counted what is used of it, a quota holds nobody up.
        wait_for("it is counted", lambda: used(full) == "0", PATIENCE_S)
        backend.submit(first)
        wait_for("the first is counted", lambda: used(full) == "1", PATIENCE_S)
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
