"""A namespace of a real cluster for one module of tests, and jobs in it."""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from backends._kubernetes.connection import Api
from backends._kubernetes.identity import job_name
from backends.kubernetes import KubernetesBackend, KubernetesSettings
from pman_core.backend import JobRef, Observed, Sighting, Unknown
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State
from testbed.cluster import kubeconfig, lack
from testbed.system import wait_for

IMAGE = "busybox:test"
PATIENCE_S = 120
"""So long whatever must happen may take: the machine may have other work, and the cluster other jobs."""
LONG = "sleep 1000"
"""Work that surely goes on until a test has it ended, however slow the machine is."""
NOWHERE = "registry.invalid/nothing:1"
"""An image that no registry has."""
UNHEARD = re.compile("net/http: TLS handshake timeout|failed to download openapi")
"""So kubectl gives up a server that is silent for some seconds, before it has told it anything: it may ask again."""


@cache
def access() -> Path | None:
    """Return the kubeconfig of the cluster, asked for once."""
    return kubeconfig()


def missing() -> str:
    """Say what is missing to run these tests, or ``""``."""
    return lack(access(), IMAGE) or ("" if shutil.which("kubectl") else "there is no kubectl")


def need_cluster(request: pytest.FixtureRequest) -> None:
    """Skip a test that has no cluster here, or fail it if one is required."""
    if lacking := missing():
        required = "kubernetes" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)


def kubectl(*args: str, given: Any = None, check: bool = True) -> str:
    """Call kubectl; ``given`` is handed to it as JSON."""
    argv, body = ["kubectl", "--kubeconfig", str(access()), *args], None if given is None else json.dumps(given)
    done = heard(argv, input=body, timeout=2 * PATIENCE_S)
    assert done.returncode == 0 or not check, f"kubectl {args}: {done.stderr}"
    return done.stdout


def heard(argv: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run kubectl, or a script that calls it, until a server has heard of it; ``options`` are those of ``run``."""

    def call() -> "subprocess.CompletedProcess[str] | None":
        done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
        return None if done.returncode != 0 and UNHEARD.search(done.stderr) else done

    return wait_for(f"{argv} is heard", call, PATIENCE_S)


def patient(**values: Any) -> KubernetesSettings:
    """Return settings for the cluster. pman asks a server that was silent again; these tests ask once, and wait."""
    own = KubernetesSettings(**({"kubeconfig": str(access())} | values))
    return own.model_copy(update={"kube_timeout_s": float(PATIENCE_S)})


class Counted(Api):
    """A connection that writes down what is asked."""

    calls: list[str]

    def call(self, method: str, path: str, **options: Any) -> Any:
        self.calls.append(f"{method} {path}")
        return super().call(method, path, **options)

    def stream(self, path: str, *args: Any, **options: Any) -> Any:
        self.calls.append(f"GET {path}")
        return super().stream(path, *args, **options)


class Cluster:
    """One namespace, and backends and jobs in it."""

    def __init__(self, namespace: str, store_base: Path) -> None:
        self.namespace = namespace
        self.store_base = store_base
        self._backends: list[KubernetesBackend] = []
        self._jobs = 0

    def kubectl(self, *args: str, given: Any = None, check: bool = True) -> str:
        return kubectl("-n", self.namespace, *args, given=given, check=check)

    def settings(self, **values: Any) -> Settings:
        given = {"container_env": "kubernetes", "storebase": self.store_base, "job_namespace": self.namespace}
        return Settings(**(given | {"pman_instance": "engines"} | values))

    def backend(self, common: dict[str, Any] | None = None, **own: Any) -> KubernetesBackend:
        """Open one more backend."""
        backend = KubernetesBackend(self.settings(**common or {}), patient(**({"kube_request_ratio": 0.01} | own)))
        backend.open()
        self._backends.append(backend)
        return backend

    def spec(self, script: str, **fields: Any) -> JobSpec:
        """Return a job that writes a line to ``runs`` and then runs ``script``; ``$0`` is its output folder."""
        self._jobs += 1
        jid = f"job-{self._jobs}"
        values: dict[str, Any] = {
            "jid": jid,
            "auid": "engines",
            "number_of_workers": 1,
            "cpu_limit": 100,
            "memory_limit": 64,
            "gpu_limit": 0,
            "image": IMAGE,
            "type": "fs",
            "input_dir": f"{jid}/in",
            "output_dir": f"{jid}/out",
        }
        values["entrypoint"] = ("sh", "-c", f'echo ran >> "$0/runs"; {script}')
        request = JobRequest(**(values | fields))
        for folder in (request.input_dir, request.output_dir):
            (self.store_base / folder).mkdir(parents=True, exist_ok=True)
            (self.store_base / folder).chmod(0o777)
        return JobSpec(mint_generation(), "engines", request)

    def runs(self, spec: JobSpec) -> int:
        """Return how often a job has begun."""
        counted = self.store_base / spec.request.output_dir / "runs"
        return len(counted.read_text().splitlines()) if counted.exists() else 0

    def pods(self, spec: JobSpec, *options: str) -> list[str]:
        """Return the names of a job's pods, as Kubernetes itself tells them."""
        wanted = f"job-name={job_name(spec.jid, spec.generation)}"
        return self.kubectl("get", "pods", "-l", wanted, *options, "-o", "name").split()

    def wait_no_pods(self, spec: JobSpec) -> None:
        """Wait until a job has no pod; the kubelet takes one away a moment after it has told its end."""
        wait_for(f"{spec.jid} has no pod", lambda: not self.pods(spec), PATIENCE_S)

    def close(self) -> None:
        for backend in self._backends:
            backend.close()


@contextmanager
def cluster(**labels: str) -> Iterator[Cluster]:
    """Make a namespace and a store; remove both, and the volume of this name that a test may have made.

    The namespace has its labels from the beginning, and its service account: what looks at a pod that is to be made
    hears of either a moment after it has come.
    """
    namespace = f"pman-engines-{secrets.token_hex(3)}"
    meta = {"name": namespace, "labels": labels}
    kubectl("create", "-f", "-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    account = ("-n", namespace, "get", "serviceaccount", "default", "--ignore-not-found", "-o", "name")
    wait_for("it has its service account", lambda: kubectl(*account), PATIENCE_S)
    with TemporaryDirectory(prefix="pman-kube-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = Cluster(namespace, Path(folder))
        try:
            yield made
        finally:
            made.close()
            kubectl("delete", "namespace", namespace, "--wait=false")
            kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--wait=false")


def ref(spec: JobSpec) -> JobRef:
    return JobRef(spec.jid, spec.generation)


def look(backend: KubernetesBackend, spec: JobSpec) -> Sighting:
    return backend.observe([ref(spec)])[spec.jid, spec.generation]


def seen(backend: KubernetesBackend, spec: JobSpec, *states: State) -> Observed:
    """Wait until the job is in one of ``states``, any terminal one if none is given."""
    wanted, found = frozenset(states) or TERMINAL, [Unknown()]

    def is_it() -> bool:
        found[0] = look(backend, spec)  # type: ignore[call-overload]
        return isinstance(found[0], Observed) and found[0].state in wanted

    wait_for(f"{spec.jid} in {sorted(wanted)}", is_it, PATIENCE_S)
    assert isinstance(found[0], Observed)
    return found[0]
