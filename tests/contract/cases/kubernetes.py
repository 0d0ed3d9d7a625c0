"""Kubernetes' case: a real cluster of one node, which is this machine, with the test image."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from backends.kubernetes import KubernetesBackend, KubernetesSettings
from cases._containers import ContainerCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings

NAMESPACE = "pman-contract"
KUBECONFIG = os.environ.get("KUBECONFIG") or "/var/lib/pman-kube/admin.kubeconfig"

NOWHERE = """
apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
"""


class KubernetesCase(ContainerCase):
    name = "kubernetes"
    marker = "kubernetes"
    patience_s = 30.0
    prompt_s = 10.0

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self._nowhere = folder / "kubeconfig"
        self._nowhere.write_text(NOWHERE)

    @classmethod
    def missing(cls) -> str:
        return _missing(cls.image)

    def build(self, common: Settings) -> Backend:
        # Next to nothing is set aside: the suite asks for more CPUs at once than a small machine has.
        return KubernetesBackend(common, KubernetesSettings(kubeconfig=KUBECONFIG, kube_request_ratio=0.01))

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(job_namespace=NAMESPACE, **overrides)

    def half_submit(self, spec: JobSpec) -> bool:
        return False  # a Job starts by itself

    def unreachable(self) -> Backend:
        return KubernetesBackend(self.common(), KubernetesSettings(kubeconfig=str(self._nowhere)))


@cache
def _missing(image: str) -> str:
    """Say what is missing; make the namespace of the tests."""
    if shutil.which("kubectl") is None or not Path(KUBECONFIG).is_file():
        return "no kubectl, or no kubeconfig: see testbed/README.md"
    kubectl = ["kubectl", "--kubeconfig", KUBECONFIG, "--request-timeout=10s"]
    nodes = subprocess.run(
        [*kubectl, "get", "nodes", "-o", "jsonpath={.items[*].status.images[*].names[*]}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if nodes.returncode:
        return f"the cluster does not answer: {nodes.stderr.strip()}"
    if f"docker.io/library/{image}" not in nodes.stdout.split():
        return f"its node has no image {image}: see testbed/README.md"
    subprocess.run([*kubectl, "create", "namespace", NAMESPACE], capture_output=True, check=False)
    return ""
