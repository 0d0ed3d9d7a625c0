"""Jobs whose pods have an init container of the site that does not come up: all of the backend, on the fake cluster."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes import overlay
from pman_core.backend import JobRef
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.unit.kube_backend import COUNT, World, impatient_world, seen

IMAGE = "case/mesh:1"
SIDECAR = {"restartPolicy": "Always"}
NEVER_UP = SIDECAR | {"startupProbe": {"exec": {"command": ["false"]}}}
WriteOverlay = Callable[..., Path]


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with impatient_world(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def with_init_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteOverlay:
    """Makes pman put an init container into its pods, as the webhook of a service mesh does it."""
    monkeypatch.setattr(overlay, "POD", overlay.POD | {"initContainers"})

    def write(script: str, **more: Any) -> Path:
        path = tmp_path / "overlay.json"
        container = {"name": "mesh", "image": IMAGE, "command": ["sh", "-c", script]} | more
        path.write_text(json.dumps({"spec": {"initContainers": [container]}}))
        return path

    return write


def ref(spec: JobSpec) -> JobRef:
    return JobRef(spec.jid, spec.generation)


def test_a_sidecar_that_crashes_for_ever_is_told_at_once_and_ends_the_job_after_the_grace(
    kube: World, with_init_container: WriteOverlay
) -> None:
    crashing = with_init_container("echo no certificate; exit 7", **NEVER_UP)
    patient, spec = kube.worker(kube_pod_overlay=crashing), kube.spec(COUNT)
    patient.submit(spec)
    told = seen(patient, spec, lambda found: "back-off 10s restarting failed container=mesh" in found.message)
    assert (told.state, told.native_state) == (State.PENDING, "CrashLoopBackOff")
    assert "init container mesh, exit code 7, restart count " in told.message
    assert patient.logs(ref(spec), 10, 1000) == "--- init container mesh ---\nno certificate\n"
    ended = seen(kube.worker(kube_start_grace_s=0), spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.START_FAILED, None)
    assert "back-off 10s restarting failed container=mesh" in ended.message
    wait_for("nothing of it lives", lambda: not kube.cluster.pods())
    assert kube.runs(spec) == 0


def test_a_sidecar_that_comes_up_within_the_grace_lets_the_job_run(
    kube: World, with_init_container: WriteOverlay
) -> None:
    probe = {"exec": {"command": ["test", "-e", str(kube.folder / "up")]}}
    backend = kube.worker(kube_pod_overlay=with_init_container("sleep 0.1; exit 7", startupProbe=probe, **SIDECAR))
    spec = kube.spec(COUNT)
    backend.submit(spec)
    seen(backend, spec, lambda found: found.native_state == "CrashLoopBackOff")
    (kube.folder / "up").touch()
    ended = seen(backend, spec)
    assert (ended.state, kube.runs(spec), ended.message) == (State.SUCCEEDED, 1, "")


def test_a_plain_init_container_that_fails_ends_the_job_with_its_exit_code_and_its_log(
    kube: World, with_init_container: WriteOverlay
) -> None:
    backend, spec = kube.worker(kube_pod_overlay=with_init_container("echo no certificate; exit 7")), kube.spec(COUNT)
    backend.submit(spec)
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.START_FAILED, None)
    assert ended.message.endswith("the job's own was not started: mesh, exit code 7")
    assert backend.logs(ref(spec), 10, 1000) == "--- init container mesh ---\nno certificate\n"
    assert kube.worker().logs(ref(spec), 10, 1000) == "--- init container mesh ---\nno certificate\n"
    assert backend.logs(ref(spec), 1, 1000) == "", "there is room for the first line alone"
    assert len(backend.logs(ref(spec), 10, 35)) <= 35
    assert kube.runs(spec) == 0


def test_init_containers_that_do_their_work_leave_the_job_its_own_log(
    kube: World, with_init_container: WriteOverlay
) -> None:
    backend, spec = kube.worker(kube_pod_overlay=with_init_container("echo ready")), kube.spec(COUNT)
    backend.submit(spec)
    ended = seen(backend, spec)
    assert (ended.state, kube.runs(spec)) == (State.SUCCEEDED, 1)
    assert backend.logs(ref(spec), 10, 1000) == "said\n"
