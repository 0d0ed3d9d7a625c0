"""Records what a real API server refuses: ``python -m tests.recorded.record_kubernetes_refusals KUBECONFIG``.

Writes ``tests/recorded/kubernetes/refusals.json``, which ``tests/unit/test_kubernetes_errors.py`` reads. Needs a
cluster on which namespaces may be made and removed, and ``kubectl``. What differs each time is left as it was.
"""

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.rest import RESTClientObject

from backends._kubernetes.job import build_job
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.storage import Volumes
from tests.unit.kube_objects import common, spec

NAMESPACES = ("pman-refusals", "pman-refusals-full", "pman-refusals-restricted", "pman-refusals-limits")
SECRET = "hunter2-hunter2"
MERGE = "application/merge-patch+json"


class Recorder:
    def __init__(self, kubeconfig: str) -> None:
        self._kubectl = ["kubectl", "--kubeconfig", kubeconfig]
        self._configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(kubeconfig, client_configuration=self._configuration, persist_config=False)
        self._pool = RESTClientObject(self._configuration).pool_manager
        self.refusals: dict[str, Any] = {}

    def kubectl(self, *args: str, given: Any = None) -> str:
        text = None if given is None else json.dumps(given)
        done = subprocess.run([*self._kubectl, *args], input=text, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def ask(
        self,
        doing: str,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        token: str = "",
    ) -> Any:
        """Make a call; keep its answer if it is a refusal."""
        pool, headers = self._pool, {"Content-Type": kind}
        if token:
            headers["Authorization"] = f"Bearer {token}"
            pool = urllib3.PoolManager(ca_certs=self._configuration.ssl_ca_cert)
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        answer = pool.request(method, self._configuration.host + path, body=data, headers=headers, retries=False)
        if answer.status >= 400 and name:
            self.refusals[name] = {
                "doing": doing,
                "status": answer.status,
                "retry_after": answer.headers.get("Retry-After", ""),
                "body": answer.data.decode(),
            }
        return json.loads(answer.data) if answer.data.startswith(b"{") else answer.data


def body(namespace: str, **fields: Any) -> dict[str, Any]:
    made = build_job(spec(**fields), common(job_namespace=namespace), KubernetesSettings(), Volumes())
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:test"
    return made


def jobs(namespace: str, name: str = "") -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


def main() -> None:
    recorder = Recorder(sys.argv[1])
    plain, full, restricted, limits = NAMESPACES
    for namespace in NAMESPACES:
        recorder.kubectl("create", "namespace", namespace)
    recorder.kubectl("label", "namespace", restricted, "pod-security.kubernetes.io/enforce=restricted")
    recorder.kubectl("-n", full, "create", "quota", "full", "--hard=count/jobs.batch=0")
    recorder.kubectl("-n", restricted, "create", "quota", "pods", "--hard=cpu=1")
    recorder.kubectl("-n", plain, "create", "serviceaccount", "nobody")
    limit = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"},
             "spec": {"limits": [{"type": "Container", "max": {"cpu": "100m"}}]}}  # fmt: skip
    recorder.kubectl("-n", limits, "apply", "-f", "-", given=limit)
    token = recorder.kubectl("-n", plain, "create", "token", "nobody")
    create(recorder, plain, full, token)
    ask_and_change(recorder, plain, token)
    by_events(recorder, restricted, limits)
    target = Path(__file__).parent / "kubernetes" / "refusals.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(recorder.refusals, indent=1, ensure_ascii=False) + "\n")
    for namespace in NAMESPACES:
        recorder.kubectl("delete", "namespace", namespace, "--wait=false")
    recorder.ask("create", "namespace terminating", "POST", jobs(plain), body(plain, jid="late"))
    target.write_text(json.dumps(recorder.refusals, indent=1, ensure_ascii=False) + "\n")


def create(recorder: Recorder, plain: str, full: str, token: str) -> None:
    job = body(plain)
    recorder.ask("create", "", "POST", jobs(plain), job)
    recorder.ask("create", "name taken", "POST", jobs(plain), job)
    recorder.ask("create", "no right", "POST", jobs(plain), job, token=token)
    recorder.ask("create", "no such token", "POST", jobs(plain), job, token="x.y.z")
    recorder.ask("create", "quota full", "POST", jobs(full), body(full))
    recorder.ask("create", "no such namespace", "POST", jobs("pman-nowhere"), body("pman-nowhere"))
    recorder.ask(
        "create", "name of a variable", "POST", jobs(plain), body(plain, jid="a", env=["a=b=" + SECRET, "\t=x"])
    )
    large = body(plain, jid="large")
    large["metadata"]["annotations"]["pman.chrisproject.org/spec"] = "x" * 300_000
    recorder.ask("create", "annotations too large", "POST", jobs(plain), large)
    huge = body(plain, jid="huge")
    huge["spec"]["template"]["spec"]["containers"][0]["args"] = ["x" * 100_000] * 40
    recorder.ask("create", "body too large", "POST", jobs(plain), huge)
    unknown = body(plain, jid="unknown")
    unknown["spec"]["template"]["spec"]["tolerations"] = [{"kee": "x"}]
    recorder.ask("create", "unknown field", "POST", jobs(plain) + "?fieldValidation=Strict", unknown)
    wrong = body(plain, jid="wrong")
    wrong["spec"]["template"]["spec"]["priorityClassName"] = 7
    recorder.ask("create", "wrong type", "POST", jobs(plain), wrong)
    recorder.ask("create", "not json", "POST", jobs(plain), b"{")


def ask_and_change(recorder: Recorder, plain: str, token: str) -> None:
    job = body(plain, env=[f"SECRET={SECRET}"], jid="second", generation="01jzzzzzzzzzzzzzzzzzzzzzzy")
    name = job["metadata"]["name"]
    recorder.ask("create", "", "POST", jobs(plain), job)
    template = copy.deepcopy(job["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "other"
    recorder.ask(
        "change", "field is immutable", "PATCH", jobs(plain, name), {"spec": {"template": template}}, kind=MERGE
    )
    stale = {"metadata": {"resourceVersion": "1", "annotations": {"a": "b"}}}
    recorder.ask("change", "out of date", "PATCH", jobs(plain, name), stale, kind=MERGE)
    recorder.ask("ask", "job not there", "GET", jobs(plain, "nothing"))
    recorder.ask("change", "delete, not there", "DELETE", jobs(plain, "nothing"), {})
    recorder.ask("ask", "list, no right", "GET", jobs(plain), token=token)
    recorder.ask("change", "delete, no right", "DELETE", jobs(plain, name), {}, token=token)
    pods = f"/api/v1/namespaces/{plain}/pods"
    recorder.ask("ask", "log, no such pod", "GET", f"{pods}/nothing/log")
    unplaced = {"metadata": {"name": "unplaced"}, "spec": {"nodeSelector": {"no": "where"}, "containers": [
        {"name": "plugin", "image": "busybox:test"}]}}  # fmt: skip
    unpulled = {"metadata": {"name": "unpulled"}, "spec": {"containers": [
        {"name": "plugin", "image": "nowhere.invalid/x:1", "imagePullPolicy": "Always"}]}}  # fmt: skip
    for pod in (unplaced, unpulled):
        recorder.ask("create", "", "POST", pods, pod)
    recorder.ask("ask", "log, no node", "GET", f"{pods}/unplaced/log?container=plugin")
    for _ in range(100):
        recorder.ask("ask", "log, no image", "GET", f"{pods}/unpulled/log?container=plugin")
        if "pull" in recorder.refusals.get("log, no image", {}).get("body", ""):
            break
        time.sleep(0.2)
    recorder.ask("ask", "list, too old to continue", "GET", jobs(plain) + "?limit=1&continue=" + too_old())


def too_old() -> str:
    """Return the token of a list that began at revision 1."""
    import base64  # noqa: PLC0415 - here alone

    text = json.dumps({"v": "meta.k8s.io/v1", "rv": 1, "start": "x\x00"}).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def by_events(recorder: Recorder, restricted: str, limits: str) -> None:
    """What is refused when the Job controller makes the pods is told by events of the Job."""
    for name, namespace, fields in (
        ("pod security", restricted, {"jid": "a"}),
        ("pod quota", restricted, {"jid": "b", "cpu_limit": 5000}),
        ("limit range", limits, {"jid": "c"}),
    ):
        job = body(namespace, **fields)
        pod = job["spec"]["template"]["spec"]
        if name == "pod security":
            pod["containers"][0]["securityContext"]["privileged"] = True
            pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        else:
            pod["securityContext"] |= {"runAsNonRoot": True, "runAsUser": 1000}
        made = recorder.ask("create", "", "POST", jobs(namespace), job)
        uid = made["metadata"]["uid"]
        for _ in range(100):
            path = f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid={uid}"
            events = recorder.ask("ask", "", "GET", path)["items"]
            if events:
                recorder.refusals[f"event: {name}"] = {"doing": "event", "events": events}
                break
            time.sleep(0.2)


if __name__ == "__main__":
    main()
