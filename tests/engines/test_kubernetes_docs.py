"""What docs/kubernetes.md prints for an administrator to find a job in the cluster, run as it is printed."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from backends._kubernetes.identity import job_name
from testbed.system import wait_for
from tests.engines.kube import LONG, PATIENCE_S, Cluster, access

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

DOCS = Path(__file__).parents[2] / "docs" / "kubernetes.md"
JIDS = ["short-1", "chris-jid_of.a~pipeline-" + "x" * 229, "chris-jid_of.a~pipeline-" + "x" * 228, "_x_"]
"""What may be a label, and what may not: the second and the third begin alike."""


def commands() -> list[str]:
    """Return the commands that ask for one jid."""
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in blocks if "$JID" in block]


def run(command: str, kube: Cluster, jid: str) -> list[str]:
    env = os.environ | {"KUBECONFIG": str(access()), "JID": jid}
    script = command.replace("pman-jobs", kube.namespace)
    done = subprocess.run(
        ["bash", "-ec", script], env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_job_is_found_by_its_jid_whatever_that_is(kube: Cluster) -> None:
    backend, specs = kube.backend(), [kube.spec(LONG, jid=jid) for jid in JIDS]
    for spec in specs:
        backend.submit(spec)
    force, find = commands()
    names = {spec.jid: job_name(spec.jid, spec.generation) for spec in specs}
    for spec in specs:
        wait_for(f"{spec.jid} has its pod", lambda spec=spec: kube.pods(spec), PATIENCE_S)
        job, pod = run(find, kube, spec.jid)
        assert job == f"Job/{names[spec.jid]}"
        assert [pod.lower()] == kube.pods(spec)
    run(force, kube, JIDS[1])
    left = {jid: kube.pods(spec) for jid, spec in zip(JIDS, specs, strict=True)}
    assert {jid for jid, pods in left.items() if not pods} == {JIDS[1]}, left
