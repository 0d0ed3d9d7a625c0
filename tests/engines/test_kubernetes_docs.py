"""What docs/kubernetes.md prints for an administrator, run as it is printed: the first steps; how a job is found."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends._kubernetes.identity import job_name
from testbed.system import wait_for
from tests.engines.deployment import PARTS
from tests.engines.kube import LONG, PATIENCE_S, Cluster, access, heard, kubectl
from tests.engines.kube_system import need_kit

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "kubernetes.md").read_text()
REGISTRY = "registry.invalid/chris"
JIDS = ["short-1", "chris-jid_of.a~pipeline-" + "x" * 229, "chris-jid_of.a~pipeline-" + "x" * 228, "_x_"]
"""What may be a label, and what may not: the second and the third begin alike."""


def commands(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(script: str, cwd: Path, **env: str) -> list[str]:
    env = os.environ | {"KUBECONFIG": str(access())} | env
    argv = ["bash", "-eo", "pipefail", "-c", script]
    done = heard(argv, cwd=cwd, env=env, timeout=PATIENCE_S)
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout.splitlines()


def test_a_job_is_found_by_its_jid_whatever_that_is(kube: Cluster) -> None:
    backend, specs = kube.backend(), [kube.spec(LONG, jid=jid) for jid in JIDS]
    for spec in specs:
        backend.submit(spec)
    force, find = (command for command in commands(DOCS) if "$JID" in command)
    names = {spec.jid: job_name(spec.jid, spec.generation) for spec in specs}
    for spec in specs:
        wait_for(f"{spec.jid} has its pod", lambda spec=spec: kube.pods(spec), PATIENCE_S)
        job, pod = run(find.replace("pman-jobs", kube.namespace), kube.store_base, JID=spec.jid)
        assert job == f"Job/{names[spec.jid]}"
        assert [pod.lower()] == kube.pods(spec)
    run(force.replace("pman-jobs", kube.namespace), kube.store_base, JID=JIDS[1])
    left = {jid: kube.pods(spec) for jid, spec in zip(JIDS, specs, strict=True)}
    assert {jid for jid, pods in left.items() if not pods} == {JIDS[1]}, left


@pytest.fixture
def no_pman(request: pytest.FixtureRequest) -> Iterator[None]:
    """No pman is in the cluster that has the names which the page gives it."""
    need_kit(request)
    delete = ("delete", "namespaces", "pman", "pman-jobs", "--ignore-not-found")
    kubectl(*delete, f"--timeout={PATIENCE_S}s")
    yield
    kubectl(*delete, "--wait=false")


@pytest.mark.e2e  # its pods take room on the node that other tests count on
@pytest.mark.usefixtures("no_pman")
def test_the_first_steps_are_taken_by_a_cluster(tmp_path: Path) -> None:
    """All but the images, which nobody can pull here, and what waits for them: see ``test_kubernetes_deploy``."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    section = DOCS.partition("## From zero to the first job")[2].partition("\n## ")[0]
    images, *steps, wait, job = commands(section)
    assert "docker build" in images
    assert "rollout status" in wait
    assert "pman run" in job
    for step in steps:
        run(step, tmp_path, REGISTRY=REGISTRY)
    made = json.loads(kubectl("get", "deployments,statefulsets", "-n", "pman", "-o", "json"))["items"]
    assert {f"{item['kind'].lower()}/{item['metadata']['name']}" for item in made} == set(PARTS.values())
    pods = {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in made}
    own = {name: spec["containers"][0]["image"] for name, spec in pods.items() if name != "pman-redis"}
    assert all(image.startswith(f"{REGISTRY}/pman-") for image in own.values()), own
    for part in re.findall(r"statefulset/[\w-]+|deployment/pman-worker", wait):
        kubectl("get", "-n", "pman", part)
