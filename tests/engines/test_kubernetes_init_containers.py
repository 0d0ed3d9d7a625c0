"""Jobs on a real cluster whose pods have an init container of the site, as service meshes put it there, that fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes import overlay
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Observed
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.engines.jobs import IMAGE
from tests.engines.kube import NOWHERE, PATIENCE_S, Cluster, look, ref, seen

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

SIDECAR = {"restartPolicy": "Always"}
NEVER_UP = SIDECAR | {"startupProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1000}}
"""Without the probe a kubelet that looks in the moment before the crash takes it for up, and the job begins."""
CRASHES = "echo no certificate; exit 7"
ITS_LOG = "--- init container mesh ---\nno certificate\n"
WriteOverlay = Callable[..., Path]


@pytest.fixture
def with_init_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteOverlay:
    """Makes pman put an init container into its pods, as the webhook of a service mesh does it."""
    monkeypatch.setattr(overlay, "POD", overlay.POD | {"initContainers"})

    def write(script: str, image: str = IMAGE, **more: Any) -> Path:
        container = {"name": "mesh", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
        path = tmp_path / "overlay.json"
        path.write_text(json.dumps({"spec": {"initContainers": [container | more]}}))
        return path

    return write


def told(backend: KubernetesBackend, spec: JobSpec, part: str) -> Observed:
    """Wait until the message of a job tells ``part``."""

    def found() -> Observed | None:
        sighting = look(backend, spec)
        return sighting if isinstance(sighting, Observed) and part in sighting.message else None

    return wait_for(f"{part!r} is told", found, PATIENCE_S)


def test_one_whose_image_never_comes_fails_the_job(kube: Cluster, with_init_container: WriteOverlay) -> None:
    backend = kube.backend(kube_start_grace_s=2, kube_pod_overlay=with_init_container("true", NOWHERE))
    spec = kube.spec("exit 0")
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert "registry.invalid" in found.message
    assert kube.runs(spec) == 0


def test_one_that_fails_is_named_and_has_left_its_log(kube: Cluster, with_init_container: WriteOverlay) -> None:
    backend = kube.backend(kube_pod_overlay=with_init_container(CRASHES))
    spec = kube.spec("exit 0")
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.START_FAILED, None)
    assert "mesh, exit code 7" in found.message
    assert backend.logs(ref(spec), 10, 1000) == ITS_LOG
    assert kube.backend().logs(ref(spec), 10, 1000) == ITS_LOG, "whoever asks"
    assert kube.runs(spec) == 0


def test_a_sidecar_that_crashes_for_ever_is_told_and_fails_the_job(
    kube: Cluster, with_init_container: WriteOverlay
) -> None:
    patient = kube.backend(kube_start_grace_s=300, kube_pod_overlay=with_init_container(CRASHES, **NEVER_UP))
    spec = kube.spec("exit 0")
    patient.submit(spec)
    waiting = told(patient, spec, "restarting failed container=mesh")
    assert (waiting.state, waiting.native_state) == (State.PENDING, "CrashLoopBackOff")
    assert "init container mesh, exit code 7, restart count " in waiting.message
    # By now it may have been begun again, and have said nothing yet.
    wait_for("its log is there", lambda: patient.logs(ref(spec), 10, 1000) == ITS_LOG, PATIENCE_S)
    found = seen(kube.backend(kube_start_grace_s=2), spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.START_FAILED, None)
    assert "restarting failed container=mesh" in found.message
    kube.wait_no_pods(spec)  # nobody goes on trying
    assert kube.runs(spec) == 0


def test_a_sidecar_that_fails_when_the_job_has_begun_is_nothing_to_it(
    kube: Cluster, with_init_container: WriteOverlay
) -> None:
    once_up = "sleep 3; exit 7"
    backend = kube.backend(kube_pod_overlay=with_init_container(once_up, **SIDECAR))
    spec = kube.spec("sleep 8; echo said; exit 3")
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 3)
    assert backend.logs(ref(spec), 10, 1000) == "said\n"
