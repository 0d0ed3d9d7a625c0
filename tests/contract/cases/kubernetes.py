"""Kubernetes' case: a real cluster of one node, which is this machine, with the test image."""

from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from kubernetes import client, config

from backends.kubernetes import KubernetesBackend, KubernetesSettings
from cases import BUSY_PATIENCE_S, until
from cases._containers import ContainerCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings
from testbed.cluster import kubeconfig, lack

NAMESPACE = "pman-contract"

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
    patience_s = BUSY_PATIENCE_S
    prompt_s = 10.0

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self._nowhere = folder / "kubeconfig"
        self._nowhere.write_text(NOWHERE)

    @classmethod
    def missing(cls) -> str:
        path = _access()
        lacking = lack(path, cls.image)
        if path is not None and not lacking:
            _make_namespace(path)
        return lacking

    def build(self, common: Settings) -> Backend:
        # Next to nothing is set aside: the suite asks for more CPUs at once than a small machine has.
        own = KubernetesSettings(kubeconfig=str(_access()), kube_request_ratio=0.01)
        # pman asks a server that was silent again, the suite asks once.
        return KubernetesBackend(common, own.model_copy(update={"kube_timeout_s": BUSY_PATIENCE_S}))

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(job_namespace=NAMESPACE, **overrides)

    def half_submit(self, spec: JobSpec) -> bool:
        return False  # a Job starts by itself

    def unreachable(self) -> Backend:
        return KubernetesBackend(self.common(), KubernetesSettings(kubeconfig=str(self._nowhere)))


@cache
def _access() -> Path | None:
    """Return the kubeconfig, asked for once: a busy cluster may not answer within that short time."""
    return kubeconfig()


@cache
def _make_namespace(path: Path) -> None:
    settings = client.Configuration()
    config.load_kube_config(str(path), client_configuration=settings, persist_config=False)
    with closing(client.ApiClient(settings)) as api:
        core = client.CoreV1Api(api)
        with suppress(client.ApiException):  # it is there already
            core.create_namespace({"metadata": {"name": NAMESPACE}}, _request_timeout=60)

        def has_account() -> bool:
            """Without it there are no pods; the cluster makes it a moment later."""
            listed = core.list_namespaced_service_account(NAMESPACE, _request_timeout=60).items
            return any(account.metadata.name == "default" for account in listed)

        until(has_account, BUSY_PATIENCE_S, f"{NAMESPACE} has its service account")
