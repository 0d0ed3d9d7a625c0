"""All of pman on a real cluster, its processes outside, its jobs in one namespace."""

import json
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import urllib3

from backends._kubernetes.connection import connect
from backends._kubernetes.identity import JID
from pman_core.errors import Unavailable
from testbed import kit
from testbed.system import System, wait_for
from tests.engines.kube import PATIENCE_S, Cluster, access, kubectl, missing, patient


def need_kit(request: pytest.FixtureRequest) -> None:
    """Skip a test that does something to the parts of the cluster: where it may not, or, unless required, cannot."""
    if lacking := missing() or (kit.lack() if kit.owns(access()) else ""):
        required = "kubernetes" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    if not kit.owns(access()):
        pytest.skip(f"only the cluster of the kit is given faults, and {access()} is that of another one")


def start_system(kube: Cluster, name: str, *, is_ready: bool = True, **env: str) -> System:
    """Bring up all of pman as the instance ``name``; do not wait for it if it cannot be ready yet."""
    settings = {
        "KUBECONFIG": str(access()),
        "JOB_NAMESPACE": kube.namespace,
        "KUBE_REQUEST_RATIO": "0.01",
        "LIVE_LOGS_S": "0",
        "PMAN_INSTANCE": name,
    }
    system = System(kube.store_base / name, "kubernetes", env=settings | env)
    try:
        system.start_all()
        if is_ready:
            system.wait_ready()
    except BaseException:
        system.close()
        raise
    return system


def left(kube: Cluster, kinds: str = "jobs,pods") -> list[str]:
    """Return what Kubernetes itself has of any job."""
    return kube.kubectl("get", kinds, "-o", "name").split()


def wait_nothing_left(kube: Cluster, system: System) -> None:
    """Wait until the cluster has nothing of any job, and pman nothing to do now: it may look once more later."""
    wait_for("nothing is left behind", lambda: not left(kube), PATIENCE_S)
    wait_for("no obligation is due", lambda: not system.connect_store().obligations("kubernetes", 1), PATIENCE_S)


def poor_access(kube: Cluster, folder: Path, name: str) -> Path:
    """Make a service account without any right, and return a kubeconfig with its token."""
    kube.kubectl("create", "serviceaccount", name)
    token = kube.kubectl("create", "token", name).strip()
    path = folder / f"{name}.kubeconfig"
    path.touch(0o600)
    path.write_text(kubectl("config", "view", "--raw", "--flatten", "--minify"))
    cluster = kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].name}")
    for change in (
        ["set-credentials", name, f"--token={token}"],
        ["set-context", name, f"--cluster={cluster}", f"--user={name}"],
        ["use-context", name],
    ):
        kubectl("--kubeconfig", str(path), "config", *change)
    return path


def wait_may(kube: Cluster, account: str, verb: str, what: str, answer: str = "yes") -> None:
    """Wait until the API server has heard of what was granted to a service account, or taken from it: it reads roles
    and their bindings a moment after they were written.
    """
    asked = ("auth", "can-i", verb, what, f"--as=system:serviceaccount:{kube.namespace}:{account}")
    told = f"{account} may {verb} {what}: {answer}"
    wait_for(told, lambda: kube.kubectl(*asked, check=False).strip() == answer, PATIENCE_S)


WATCH_S = 3600
"""Longer than any test: the server ends a watch after that."""


class Ends:
    """When each Job was seen to have its end, by a watch of the test's own."""

    def __init__(self, kube: Cluster) -> None:
        self.at_s: dict[str, float] = {}
        self._api = connect(patient())
        self._path = f"/apis/batch/v1/namespaces/{kube.namespace}/jobs"
        self._response: urllib3.BaseHTTPResponse | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Ends":
        self._thread.start()
        wait_for("the watch is open", lambda: self._response is not None, PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._response is not None:
            self._response.shutdown()
        self._thread.join(10)
        self._api.close()

    def _follow(self) -> None:
        buffer = b""
        with (
            suppress(Unavailable),  # so it ends
            self._api.stream(self._path, {"watch": "1", "timeoutSeconds": str(WATCH_S)}, WATCH_S) as response,
        ):
            self._response = response
            for chunk in response.stream(65536, decode_content=True):
                now_s = time.monotonic()
                *lines, buffer = (buffer + chunk).split(b"\n")
                for job in (json.loads(line)["object"] for line in lines):
                    ended = {c["type"] for c in job.get("status", {}).get("conditions", ())} & {"Complete", "Failed"}
                    if ended:
                        self.at_s.setdefault(job["metadata"]["annotations"][JID], now_s)
