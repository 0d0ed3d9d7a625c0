"""Jobs that do not start, are ended by the cluster, or by somebody's hand: what the backend says of them.

The cluster is the fake one, whose words are those of a real one; so are the messages that are asked for here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes.identity import SPEC, WORKERS
from backends.kubernetes import KubernetesBackend
from pman_core.backend import Absent, JobRef, Observed, Unknown
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.fakes.kube_api.events import tell
from tests.fakes.kube_api.job_controller import key_of
from tests.unit.kube_backend import COUNT, STUBBORN, World, impatient_world, look, seen

IMAGE = "case/image:1"
PULL = 'failed to pull and unpack image "docker.io/case/image:1": not found'


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with impatient_world(tmp_path, monkeypatch) as made:
        yield made


def submitted(kube: World, spec: JobSpec, **own: Any) -> KubernetesBackend:
    backend = kube.worker(**own)
    backend.submit(spec)
    return backend


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_had_is_waited_for_and_then_ends_the_job(kube: World, reason: str) -> None:
    kube.cluster.node.images[IMAGE] = (reason, PULL)
    spec = kube.spec(COUNT)
    patient = submitted(kube, spec)
    waiting = seen(patient, spec, lambda found: found.native_state == reason)
    assert (waiting.state, waiting.message) == (State.PENDING, f"{reason}: {PULL}")
    ended = seen(kube.worker(kube_start_grace_s=0), spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert PULL in ended.message
    assert seen(patient, spec) == ended
    assert kube.runs(spec) == 0


def test_an_image_that_comes_within_the_grace_is_run(kube: World) -> None:
    kube.cluster.node.images[IMAGE] = ("ErrImagePull", PULL)
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec)
    seen(backend, spec, lambda found: found.native_state == "ErrImagePull")
    kube.cluster.node.images.clear()
    assert seen(backend, spec).state is State.SUCCEEDED


def test_an_image_that_is_being_pulled_is_told_by_its_event(kube: World) -> None:
    """Its container is only being created, as far as the pod itself tells."""
    kube.cluster.node.images[IMAGE] = ("ContainerCreating", "")
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec, kube_start_grace_s=0)
    seen(backend, spec, lambda found: found.native_state == "ContainerCreating")
    tell(kube.cluster.storage, kube.cluster.pods()[0], "Normal", "Pulling", f'Pulling image "{IMAGE}"')
    waiting = seen(backend, spec, lambda found: found.native_state == "Pulling")
    assert (waiting.state, waiting.message) == (State.PENDING, f'Pulling image "{IMAGE}"')
    kube.cluster.node.images.clear()
    assert seen(backend, spec).state is State.SUCCEEDED


def test_a_folder_that_cannot_be_mounted_is_told_by_its_event(kube: World) -> None:
    kube.cluster.node.full = "1 Insufficient cpu"
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec, kube_start_grace_s=0)
    waiting = seen(backend, spec, lambda found: found.native_state == "Unschedulable")
    assert "1 Insufficient cpu" in waiting.message
    (kube.folder / spec.request.input_dir).rmdir()
    kube.cluster.node.full = ""
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.START_FAILED)
    assert "is not a directory" in ended.message


def test_a_quota_of_pods_is_waited_for(kube: World) -> None:
    refusal = "exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0"
    kube.cluster.controller.pod_refusal = refusal
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec, kube_start_grace_s=0)
    waiting = seen(backend, spec, lambda found: refusal in found.message)
    assert waiting.state is State.PENDING
    kube.cluster.controller.pod_refusal = ""
    assert seen(backend, spec).state is State.SUCCEEDED
    assert kube.runs(spec) == 1


def test_a_pod_that_pod_security_refuses_ends_the_job(kube: World) -> None:
    refusal = 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    kube.cluster.controller.pod_refusal = refusal
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec, kube_start_grace_s=0)
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.REJECTED)
    assert refusal in ended.message


def test_a_job_whose_time_is_over_before_it_has_begun(kube: World) -> None:
    """Its pod stays; that there is no log to be read of it is no trouble."""
    kube.cluster.node.images[IMAGE] = ("ErrImagePull", "not found")
    spec = kube.spec(COUNT, time_limit_minutes=1)
    backend = submitted(kube, spec)
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.TIME_LIMIT, None)
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == ""


@pytest.fixture
def running(kube: World) -> tuple[World, KubernetesBackend, JobSpec]:
    spec = kube.spec(STUBBORN)
    backend = submitted(kube, spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    return kube, backend, spec


def pod_of(kube: World) -> dict[str, Any]:
    return kube.cluster.pods()[-1]


def test_out_of_memory(running: tuple[World, KubernetesBackend, JobSpec]) -> None:
    kube, backend, spec = running
    kube.cluster.node.run_out_of_memory(pod_of(kube))
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.OOM_KILLED, 137)
    assert "64Mi" in ended.message


def test_evicted_by_its_node(running: tuple[World, KubernetesBackend, JobSpec]) -> None:
    kube, backend, spec = running
    kube.cluster.node.evict(pod_of(kube), "The node was low on resource: memory.")
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "low on resource" in ended.message


def test_its_node_is_started_anew(running: tuple[World, KubernetesBackend, JobSpec]) -> None:
    kube, backend, spec = running
    kube.cluster.node.start_anew(pod_of(kube))
    ended = seen(backend, spec)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "was started anew" in ended.message


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "EvictionByEvictionAPI", "DeletionByTaintManager"])
def test_disrupted(running: tuple[World, KubernetesBackend, JobSpec], reason: str) -> None:
    kube, backend, spec = running
    kube.cluster.disrupt(pod_of(kube), reason, "somebody more important")
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)


@pytest.mark.parametrize("grace_s", [None, 0])
def test_its_pod_is_deleted_by_hand(running: tuple[World, KubernetesBackend, JobSpec], grace_s: int | None) -> None:
    kube, backend, spec = running
    kube.cluster.delete_pod(pod_of(kube), grace_s)
    ended = seen(backend, spec)
    assert ended.state is State.FAILED
    assert ended.message
    wait_for("it has gone", lambda: not kube.cluster.pods())
    assert seen(kube.worker(), spec).state is State.FAILED


def test_its_job_is_deleted_by_hand(running: tuple[World, KubernetesBackend, JobSpec]) -> None:
    kube, backend, spec = running
    kube.cluster.storage.delete(key_of(kube.cluster.jobs()[0]))
    assert isinstance(look(backend, spec), Absent | Unknown)
    wait_for("the pods have gone, too", lambda: look(backend, spec) == Absent())
    assert kube.cluster.pods() == []


def test_a_finished_job_whose_pods_are_deleted_keeps_its_end(kube: World) -> None:
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec)
    ended = seen(backend, spec)
    kube.cluster.delete_pod(pod_of(kube))
    wait_for("it has gone", lambda: not kube.cluster.pods())
    again = seen(kube.worker(), spec)
    assert (again.state, again.exit_code) == (ended.state, ended.exit_code)
    assert kube.worker().logs(JobRef(spec.jid, spec.generation), 10, 100) == ""


def test_a_kubelet_that_is_silent_holds_a_removal_open(running: tuple[World, KubernetesBackend, JobSpec]) -> None:
    kube, backend, spec = running
    kube.cluster.node.is_silent = True
    assert backend.remove(spec.jid, spec.generation) is False
    other = kube.worker()
    wait_for("the Job is gone", lambda: not kube.cluster.jobs())
    assert isinstance(look(other, spec), Unknown), "its pod may still run"
    kube.cluster.node.is_silent = False
    wait_for("the pod has gone, too", lambda: look(other, spec) == Absent())


def test_a_job_of_several_workers_is_what_its_first_failure_is(kube: World) -> None:
    spec = kube.spec(["sh", "-c", 'test "$JOB_COMPLETION_INDEX" = 1 && exit 9; sleep 1000'], number_of_workers=3)
    backend = submitted(kube, spec)
    ended = seen(backend, spec)
    assert isinstance(ended, Observed)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)


def test_what_the_others_said_when_the_first_failed_is_kept(kube: World) -> None:
    script = 'echo "I am $JOB_COMPLETION_INDEX"; while [ ! -e "$FAKE_MOUNT__share_outgoing/go" ]; do sleep 0.02; done; '
    script += 'test "$JOB_COMPLETION_INDEX" = 1 && exit 9; trap "" TERM; sleep 1000 & wait'
    spec = kube.spec(["sh", "-c", script], number_of_workers=3)
    backend = submitted(kube, spec)
    asked = JobRef(spec.jid, spec.generation)
    whole = "".join(f"--- worker {number + 1} of 3 ---\nI am {number}\n" for number in range(3))
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    wait_for("all have said it", lambda: backend.logs(asked, 10, 1000) == whole)
    kube.cluster.node.second_s = 1.0
    (kube.folder / spec.request.output_dir / "go").touch()
    seen(backend, spec)
    wait_for("the others are gone", lambda: len(kube.cluster.pods()) == 1)
    assert backend.logs(asked, 10, 1000) == whole
    assert kube.worker().logs(asked, 10, 1000) == "--- worker 2 of 3 ---\nI am 1\n", "who came too late"


@pytest.mark.parametrize("said", ["many", None])
def test_an_annotation_that_somebody_has_changed_does_not_stop_a_removal(kube: World, said: str | None) -> None:
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec)
    seen(backend, spec)
    annotations = {} if said is None else {WORKERS: said}
    [pod] = kube.cluster.pods()
    kube.cluster.storage.update(key_of(pod), lambda found: found["metadata"].update(annotations=annotations))
    assert backend.remove(spec.jid, spec.generation) is False, "how many there were to be is not known any more"
    wait_for("it is gone", lambda: look(kube.worker(), spec) == Absent())


# Secrets


def test_what_an_event_quotes_of_a_variable_is_struck_out(kube: World) -> None:
    kube.cluster.controller.pod_refusal = 'Invalid value: "hunter22": must not be so'
    spec = kube.spec(COUNT)
    backend = submitted(kube, spec, kube_start_grace_s=0)
    ended = seen(backend, spec)
    assert 'Invalid value: "***": must not be so' in ended.message
    assert "hunter22" not in str(look(kube.worker(), spec))
    annotations = dict(kube.cluster.jobs()[0]["metadata"]["annotations"])
    assert "hunter22" in annotations.pop(SPEC), "the Job itself has it, as its pods do"
    assert "hunter22" not in str(annotations)


def test_what_a_kubelet_quotes_of_a_variable_is_struck_out(kube: World) -> None:
    kube.cluster.node.images[IMAGE] = ("CreateContainerError", "no such thing: SECRET=hunter22")
    spec = kube.spec(COUNT)
    patient = submitted(kube, spec)
    waiting = seen(patient, spec, lambda found: found.native_state == "CreateContainerError")
    assert waiting.message == "CreateContainerError: no such thing: SECRET=***"
    assert "hunter22" not in str(seen(kube.worker(kube_start_grace_s=0), spec))
    [owned] = kube.worker().owned()
    assert "SECRET=***" in owned.observed.message
