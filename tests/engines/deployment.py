"""A whole pman in a cluster, from ``deploy/kubernetes``, in two namespaces of its own; and a client in a pod beside it.

The data is a folder of this machine behind a claim, so the cluster's node must see this machine's files: the testbed's
do (``testbed/kube/up.sh``).
"""

import json
import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from testbed.system import wait_for
from tests.engines.kube import UNHEARD

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
CLIENT = Path(__file__).with_name("in_cluster_client.py").read_text()
PARTS = {
    "api": "deployment/pman-api",
    "worker": "deployment/pman-worker",
    "control": "deployment/pman-control",
    "observer": "deployment/pman-observer",
    "redis": "statefulset/pman-redis",
    "flower": "deployment/pman-flower",
}
ASK = """
import requests, sys
try:
    reply = requests.request(*sys.argv[1:], timeout=60)
    print(reply.status_code, reply.text)
except requests.RequestException as error:
    print(503, error)
"""
JOBS = "chrisproject.org/role=plugininstance"
READY_S = 600
SMALL = [
    # Beside everything else on a machine with two cores.
    {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "10m"},
    {"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/memory", "value": "64Mi"},
]


def run(*argv: str, text: str = "", env: dict[str, str] | None = None, timeout_s: float = 120) -> str:
    done = subprocess.run(argv, input=text, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
    return done.stdout


class Deployment:
    """``folder`` holds the data of the jobs and of Redis; ``images`` are tags by name."""

    def __init__(self, kubeconfig: Path, folder: Path, images: dict[str, str]) -> None:
        self.name = f"pman-e2e-{os.getpid()}"
        self.jobs = f"{self.name}-jobs"
        self.folder = folder
        self.store_base = folder / "store"
        self.images = images
        self.env = os.environ | {"KUBECONFIG": str(kubeconfig)}
        self.url = f"http://pman.{self.name}:5010"

    def kubectl(self, *argv: str, text: str = "", timeout_s: float = 120) -> str:
        """Call kubectl, again if the API server, or the kubelet behind it, has not heard of it: see ``UNHEARD``."""
        until_s = time.monotonic() + READY_S
        while True:
            try:
                return run("kubectl", *argv, text=text, env=self.env, timeout_s=timeout_s)
            except AssertionError as error:
                if not UNHEARD.search(str(error)) or time.monotonic() > until_s:
                    raise

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(objects))

    def get(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        text = self.kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        items: list[dict[str, Any]] = json.loads(text)["items"]
        return items

    # Bringing it up

    def start(self) -> None:
        """Make everything and wait until every part says that it is ready."""
        self._make_namespaces()
        self._make_volumes()
        password = secrets.token_hex(16)
        literals = [f"--from-literal={name}={password}" for name in ("REDIS_PASSWORD", "SECRET_KEY")]
        self.kubectl("create", "secret", "generic", "pman", "-n", self.name, *literals)
        for kustomization in (self._pman(), self._jobs()):
            self.kubectl("apply", "-k", str(kustomization))
        self.start_client()
        for part in PARTS:
            self.wait_ready(part)

    def _make_namespaces(self) -> None:
        text = (MANIFESTS / "namespaces.yaml").read_text()
        pman, jobs = yaml.safe_load_all(text)
        pman["metadata"]["name"], jobs["metadata"]["name"] = self.name, self.jobs
        self.apply(pman, jobs)
        # Whoever makes a pod oneself, as the client's, is refused before it is there.
        account = ("get", "serviceaccount", "default", "-n", self.jobs, "--ignore-not-found", "-o", "name")
        wait_for("a namespace has its service account", lambda: self.kubectl(*account), READY_S)

    def _make_volumes(self) -> None:
        """Make what a cluster's storage would: folders of this machine behind the claims of Redis and of the jobs."""
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "pman-storebase", "namespace": self.jobs},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        store = self._volume("store", "ReadWriteMany", self.jobs, "pman-storebase")
        self.apply(store, self._volume("redis", "ReadWriteOnce", self.name, "data-pman-redis-0"), claim)

    def _volume(self, name: str, mode: str, namespace: str, claim: str) -> dict[str, Any]:
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o777)
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{self.name}-{name}"},
            "spec": {
                "accessModes": [mode],
                "capacity": {"storage": "4Gi"},
                "hostPath": {"path": str(folder)},
                "claimRef": {"namespace": namespace, "name": claim},
            },
        }

    def _pman(self) -> Path:
        """Write the kustomization of a site: its namespace, its images, its settings."""
        settings = {
            "JOB_NAMESPACE": self.jobs,
            "PMAN_INSTANCE": self.name,
            "STORAGE_TYPE": "kubernetes_pvc",
            "VOLUME_NAME": "pman-storebase",
        }
        tags = self.images
        names = {"pman-api": "pman-api", "pman-worker": "pman-worker", "pman-flower": "pman-flower"}
        images = names | {"redis": "pman-test-redis"}
        return self._kustomization(
            "pman",
            namespace=self.name,
            resources=[os.path.relpath(MANIFESTS / "base", self.folder / "pman")],
            images=[{"name": name, "newName": new, "newTag": tags[new]} for name, new in images.items()],
            configMapGenerator=[
                {
                    "name": "pman-settings",
                    "namespace": "pman",
                    "behavior": "merge",
                    "literals": [f"{name}={value}" for name, value in settings.items()],
                }
            ],
            patches=[{"target": {"kind": "Deployment|StatefulSet"}, "patch": yaml.safe_dump(SMALL)}],
        )

    def _jobs(self) -> Path:
        subject = [{"op": "replace", "path": "/subjects/0/namespace", "value": self.name}]
        return self._kustomization(
            "jobs",
            namespace=self.jobs,
            resources=[os.path.relpath(MANIFESTS / "jobs", self.folder / "jobs")],
            patches=[{"target": {"kind": "RoleBinding"}, "patch": yaml.safe_dump(subject)}],
        )

    def _kustomization(self, name: str, **content: Any) -> Path:
        folder = self.folder / name
        folder.mkdir()
        kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kind | content))
        return folder

    def wait_ready(self, part: str) -> None:
        self.kubectl("rollout", "status", "-n", self.name, PARTS[part], f"--timeout={READY_S}s", timeout_s=READY_S + 10)

    # Being a client

    def start_client(self) -> None:
        """Start a pod that the policies take for pfcon."""
        image = f"pman-worker:{self.images['pman-worker']}"
        meta = {"name": "client", "namespace": self.jobs, "labels": {"org.chrisproject.role": "pfcon"}}
        container = {"name": "client", "image": image, "command": ["sleep", "infinity"]}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        self.kubectl(
            "wait",
            "-n",
            self.jobs,
            "--for=condition=Ready",
            "pod/client",
            f"--timeout={READY_S}s",
            timeout_s=READY_S + 10,
        )

    def begin_jobs(self, jobs: list[dict[str, Any]], every_s: float, patience_s: float) -> "subprocess.Popen[str]":
        """Let the client post ``jobs`` and wait for their ends; see ``in_cluster_client.py``."""
        self.kubectl("exec", "-n", self.jobs, "client", "--", "rm", "-f", "/tmp/enough", "/tmp/records")
        given = json.dumps({"url": self.url, "jobs": jobs, "every_s": every_s, "patience_s": patience_s})
        argv = ["kubectl", "exec", "-i", "-n", self.jobs, "client", "--", "python", "-c", CLIENT]
        client = subprocess.Popen(argv, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert client.stdin is not None
        client.stdin.write(given)
        client.stdin.close()
        client.stdin = None
        return client

    def run_jobs(self, jobs: list[dict[str, Any]], patience_s: float = READY_S) -> dict[str, dict[str, Any]]:
        return self.records(self.begin_jobs(jobs, 0, patience_s), patience_s)

    def post_no_more(self) -> None:
        self.kubectl("exec", "-n", self.jobs, "client", "--", "touch", "/tmp/enough")

    def records(self, client: "subprocess.Popen[str]", patience_s: float) -> dict[str, dict[str, Any]]:
        """Wait until the client has seen the end of every job that it has posted; return the records by jid."""
        output, _ = client.communicate(timeout=patience_s + 30)
        assert client.returncode == 0, output
        records: dict[str, dict[str, Any]] = json.loads(self.inside(self.jobs, "client", "cat", "/tmp/records"))
        return records

    def inside(self, namespace: str, where: str, *command: str) -> str:
        """Run a command in a pod, and return what it has printed, which must be something.

        It may run again: if kubelet or containerd are slow just then, ``kubectl exec`` succeeds without its output.
        """
        printed: list[str] = []

        def has_printed() -> bool:
            printed.append(self.kubectl("exec", "-n", namespace, where, "--", *command))
            return bool(printed[-1].strip())

        wait_for(f"{where} prints what {command[0]} does", has_printed, READY_S)
        return printed[-1]

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Send a request from the client's pod until it is answered by other than 5xx; return the status and the body.

        A store that did not answer within a second, on a machine that has other work, is a 503 and no answer.
        """
        replies: list[tuple[int, str]] = []

        def is_answered() -> bool:
            text = self.inside(self.jobs, "client", "python", "-c", ASK, method, self.url + path)
            status, _, body = text.partition(" ")
            replies.append((int(status), body))
            return int(status) < 500

        wait_for(f"{method} {path} is answered", is_answered, READY_S)
        return replies[-1]

    # Looking, and taking it down

    def doctor(self) -> list[dict[str, str]]:
        """Return what ``pman doctor`` finds in a worker; it says by its exit code, too, that something is wrong."""
        text = self.inside(self.name, "deploy/pman-worker", "sh", "-c", "pman doctor --json; true")
        found: list[dict[str, str]] = json.loads(text)
        return found

    def logs(self) -> str:
        selector = "app.kubernetes.io/name=pman"
        return self.kubectl("logs", "-n", self.name, "-l", selector, "--prefix", "--tail=40", "--all-containers")

    def close(self) -> None:
        for namespace in (self.jobs, self.name):
            # By itself, the namespace would first wait for the longest time that any pod may take to end.
            self.kubectl(
                "delete",
                "deployment,statefulset,job,pod",
                "--all",
                "-n",
                namespace,
                f"--timeout={READY_S}s",
                timeout_s=READY_S + 10,
            )
            self.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
        for namespace in (self.jobs, self.name):
            gone = ("get", "namespace", namespace, "--ignore-not-found", "-o", "name")
            wait_for(f"{namespace} is gone", lambda gone=gone: self.kubectl(*gone) == "", READY_S)  # type: ignore[misc]
        volumes = (f"{self.name}-store", f"{self.name}-redis")
        self.kubectl("delete", "pv", "--ignore-not-found", *volumes, timeout_s=READY_S)
