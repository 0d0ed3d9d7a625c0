"""The site's overlay of every pod: what it may say, what it may not, and what comes of it."""

from pathlib import Path
from typing import Any, cast

import pytest

from backends._kubernetes.job import build_job
from backends._kubernetes.namespace import Namespace
from backends._kubernetes.overlay import faults_of, merged, read
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.storage import ClaimFolders
from backends.kubernetes import KubernetesBackend
from pman_core.errors import Rejected
from pman_core.states import State
from tests.fakes.kube_api import FakeCluster, recorded
from tests.unit.kube_backend import COUNT, World, seen
from tests.unit.kube_objects import common, spec

GOOD = """
metadata:
  labels: {team: imaging}
  annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false"}
spec:
  priorityClassName: plugins
  runtimeClassName: gvisor
  tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
  nodeSelector: {zone: b}
  securityContext: {supplementalGroups: [7]}
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - name: plugin
    env: [{name: A, value: theirs}, {name: PROXY, value: "http://proxy"}]
    resources: {limits: {ephemeral-storage: 1Gi}}
    volumeMounts: [{name: scratch, mountPath: /scratch}, {name: scratch, mountPath: /tmp, subPath: tmp}]
"""


def template() -> dict[str, Any]:
    job_spec = spec()
    volumes = ClaimFolders("claim", None).volumes(job_spec, None)
    made = build_job(job_spec, common(node_selector="disk=fast"), KubernetesSettings(), volumes)
    found: dict[str, Any] = made["spec"]["template"]
    return found


def overlay(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "overlay.yaml"
    path.write_text(text)
    return read(path)


def test_an_overlay_adds_what_it_says(tmp_path: Path) -> None:
    plain = template()
    pod = merged(plain, overlay(tmp_path, GOOD))
    assert pod["metadata"]["labels"] == plain["metadata"]["labels"] | {"team": "imaging"}
    assert "cluster-autoscaler.kubernetes.io/safe-to-evict" in pod["metadata"]["annotations"]
    assert pod["metadata"]["annotations"].items() > plain["metadata"]["annotations"].items()
    assert pod["spec"]["priorityClassName"] == "plugins"
    assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["spec"]["nodeSelector"] == {"disk": "fast", "zone": "b"}
    assert pod["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "supplementalGroups": [7]}
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["store", "scratch"]


def test_what_the_job_asks_for_comes_before(tmp_path: Path) -> None:
    plain = template()
    [container] = merged(plain, overlay(tmp_path, GOOD))["spec"]["containers"]
    [own] = plain["spec"]["containers"]
    assert container["env"] == [*own["env"], {"name": "PROXY", "value": "http://proxy"}]
    assert container["resources"]["limits"] == own["resources"]["limits"] | {"ephemeral-storage": "1Gi"}
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [
        "/share/incoming", "/share/outgoing", "/scratch", "/tmp",
    ]  # fmt: skip
    assert container["command"] == own["command"]


def test_a_merge_changes_neither_side(tmp_path: Path) -> None:
    plain, extra = template(), overlay(tmp_path, GOOD)
    merged(plain, extra)
    assert plain == template()
    assert extra == overlay(tmp_path, GOOD)


@pytest.mark.parametrize("nothing", ["", "{}", "metadata:\nspec:\n"])
def test_an_empty_overlay_changes_nothing(tmp_path: Path, nothing: str) -> None:
    assert merged(template(), overlay(tmp_path, nothing)) == template()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[]", "KUBE_POD_OVERLAY: must be a mapping"),
        ("status: {}", "KUBE_POD_OVERLAY status: may not be set"),
        ("metadata: {name: x}", "metadata.name"),
        ("metadata: {labels: {pman.chrisproject.org/jid: x}}", "metadata.labels.pman.chrisproject.org/jid"),
        ("metadata: {annotations: {pman.chrisproject.org/jid: x}}", "pman's own"),
        ("metadata: {labels: {job-name: x}}", "the Job controller's"),
        ("metadata: {labels: {a: 1}}", "must be text: put it into quotes"),
        ("metadata: {labels: {a: 'b c'}}", "no name or value"),
        ("metadata: {labels: [a]}", "metadata.labels: must be a mapping"),
        ("spec: {restartPolicy: Always}", "spec.restartPolicy"),
        ("spec: {activeDeadlineSeconds: 1}", "spec.activeDeadlineSeconds"),
        ("spec: {terminationGracePeriodSeconds: 0}", "spec.terminationGracePeriodSeconds"),
        ("spec: {automountServiceAccountToken: true}", "spec.automountServiceAccountToken"),
        ("spec: {initContainers: []}", "spec.initContainers"),
        ("spec: {shareProcessNamespace: true}", "spec.shareProcessNamespace"),
        ("spec: {containers: [{name: sidecar, image: x}]}", "may hold the container plugin alone"),
        ("spec: {containers: [{name: plugin}, {name: plugin}]}", "may hold the container plugin alone"),
        ("spec: {containers: [{name: plugin, command: [x]}]}", "spec.containers[0].command"),
        ("spec: {containers: [{name: plugin, args: [x]}]}", "spec.containers[0].args"),
        ("spec: {containers: {name: plugin}}", "spec.containers: must be a list of mappings"),
        ("spec: {volumes: [{name: outgoing, emptyDir: {}}]}", "outgoing is a volume of pman"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: x, mountPath: /share}]}]}", "/share is not free"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: x, mountPath: /share/outgoing/y}]}]}", "not free"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: x, mountPath: /}]}]}", "/ is not free"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: x}]}]}", "/ is not free"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: x, mountPath: /a/../share}]}]}", "is not free"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: x, mountPath: //share/.}]}]}", "/share is not free"),
        ("spec: {containers: [{name: plugin, volumeMounts: [{name: store, mountPath: /x}]}]}", "store is a volume"),
        ("spec: {containers: [{name: plugin, env: [{value: x}]}]}", "spec.containers[0].env[0].name: must be there"),
        ("spec: {containers: [{name: plugin, env: [{name: [A]}]}]}", "spec.containers[0].env[0].name: must be there"),
        ("spec: {volumes: [{name: [a]}]}", "spec.volumes[0].name: must be there, and be text"),
        ("a: [", "KUBE_POD_OVERLAY: while parsing"),
    ],
)  # fmt: skip
def test_what_the_truth_rests_on_cannot_be_touched(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(Rejected) as refused:
        overlay(tmp_path, text)
    assert where in str(refused.value)


def test_every_fault_is_named_at_once() -> None:
    faults = faults_of({"spec": {"restartPolicy": "Always", "volumes": [{"name": "store"}]}, "kind": "Pod"})
    assert len(faults) == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"KUBE_POD_OVERLAY: .*No such file"):
        read(tmp_path / "nothing.yaml")


class Server:
    """Refuses the job that it is shown with these words."""

    def __init__(self, words: str) -> None:
        self._words = words

    def check(self, _job: dict[str, Any]) -> None:
        raise Rejected(self._words)


def check(words: str) -> None:
    backend = KubernetesBackend(common(), KubernetesSettings())
    backend._check_overlay(cast(Namespace, Server(words)))


def test_an_overlay_that_the_server_does_not_take_is_a_fault() -> None:
    with pytest.raises(Rejected, match="KUBE_POD_OVERLAY: Job in version"):
        check('Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field')


@pytest.mark.parametrize(
    "words",
    [
        'admission webhook "validate.kyverno.svc" denied the request: images must come from registry.example.org',
        "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'all' denied request: no check",
        'admission webhook "sidecar.example.org" does not support dry run',
    ],
)
def test_a_policy_that_dislikes_the_sample_or_cannot_be_shown_it_does_not_keep_pman_from_starting(words: str) -> None:
    check(words)


@pytest.mark.parametrize("name", ["403, quota of jobs", "403, create jobs", "500, webhook away"])
def test_a_server_that_takes_no_job_now_does_not_keep_pman_from_starting(tmp_path: Path, name: str) -> None:
    """With a full quota it would keep pman from removing the jobs that fill it."""
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("spec: {priorityClassName: plugins}")
    with FakeCluster() as cluster:
        world = World(cluster, tmp_path)
        counted = world.spec(COUNT)
        world.worker().submit(counted)
        cluster.faults.refuse("create jobs", recorded(name))
        backend = world.worker(kube_pod_overlay=overlay)
        assert seen(backend, counted).state is State.SUCCEEDED
        assert backend.remove(counted.jid, counted.generation)
        world.close()
