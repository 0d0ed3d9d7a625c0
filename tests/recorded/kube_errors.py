"""Every refusal and every kind of reply that the backend may meet: used by ``record_kubernetes.py``.

What is needed to be refused (quotas, policies, a user without rights, a level of priority without seats, an API that
nobody serves) is made here, named ``recorded...``, and deleted at the end.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from tests.recorded.kube_jobs import SLEEP, job_of
from tests.recorded.kube_recorder import EVENTS, JOBS, KEPT_HEADERS, PODS, Json, Server, brief_event, without_noise

NAMESPACES = "/api/v1/namespaces"
NAMESPACE = "recorded-errors"


class Errors:
    def __init__(self, server: Server) -> None:
        self.server, self.job_of = server, job_of
        self.kept: Json = {}
        self.jobs, self.pods = JOBS.format(ns=NAMESPACE), PODS.format(ns=NAMESPACE)

    def keep(self, name: str, doing: str, answer: requests.Response) -> requests.Response:
        try:
            body = without_noise(answer.json())
        except ValueError:
            body = answer.text
        headers = {key: answer.headers[key] for key in KEPT_HEADERS if key in answer.headers}
        self.kept[name] = {"doing": doing, "status": answer.status_code, "headers": headers, "body": body}
        print(name, answer.status_code, body if isinstance(body, str) else body.get("message"))  # noqa: T201
        return answer

    def create(self, name: str, namespace: str = NAMESPACE, **more: Any) -> None:
        body = self.job_of("x", SLEEP, **more)
        self.keep(name, "create", self.server.ask("POST", JOBS.format(ns=namespace), body))

    def job_events(self, name: str, namespace: str, label: str) -> None:
        """A job that is accepted, and whose pod is refused: an event of the job tells why."""
        job = self.server.do("POST", JOBS.format(ns=namespace), self.job_of(label, SLEEP))
        url = EVENTS.format(ns=namespace)
        about = {"fieldSelector": f"involvedObject.uid={job['metadata']['uid']},reason=FailedCreate"}
        until(lambda: self.server.do("GET", url, params=about)["items"])
        found = self.server.do("GET", f"{JOBS.format(ns=namespace)}/recorded-{label}")
        events = [brief_event(event) for event in self.server.do("GET", url, params=about)["items"][:1]]
        self.kept[name] = {"doing": "create", "status": 201, "job_status": found["status"], "events": events}
        print(name, events[0]["message"])  # noqa: T201

    def token_of(self, account: str) -> str:
        url = f"{NAMESPACES}/{NAMESPACE}/serviceaccounts"
        self.server.ask("POST", url, {"metadata": {"name": account}})
        made = self.server.do("POST", f"{url}/{account}/token", {"spec": {}})
        return str(made["status"]["token"])


@contextmanager
def made(server: Server, path: str, body: Json) -> Iterator[str]:
    """Make an object, for as long as it is needed."""
    url = f"{path}/{body['metadata']['name']}"
    server.do("POST", path, body)
    try:
        yield url
    finally:
        server.ask("DELETE", url)


@contextmanager
def namespace_of(server: Server, name: str, **labels: str) -> Iterator[str]:
    """Make a namespace, in which pods can be made, for as long as it is needed; one that is ending is waited for."""
    until(lambda: server.ask("GET", f"{NAMESPACES}/{name}").status_code == 404)
    with made(server, NAMESPACES, {"metadata": {"name": name, "labels": labels}}):
        until(lambda: server.ask("GET", f"{NAMESPACES}/{name}/serviceaccounts/default").ok)
        yield name


def until(question: Callable[[], Any], timeout_s: float = 60) -> None:
    end_s = time.monotonic() + timeout_s
    while not question():
        if time.monotonic() > end_s:
            raise TimeoutError
        time.sleep(0.1)


def record_rights(errors: Errors) -> None:
    stranger = errors.server.as_user("no-such-token")
    errors.keep("401", "ask", stranger.ask("GET", errors.jobs))
    nobody = errors.server.as_user(errors.token_of("nobody"))
    for verb, method, path in (
        ("create jobs", "POST", errors.jobs),
        ("get jobs", "GET", f"{errors.jobs}/recorded-x"),
        ("list jobs", "GET", errors.jobs),
        ("watch jobs", "GET", f"{errors.jobs}?watch=1"),
        ("patch jobs", "PATCH", f"{errors.jobs}/recorded-x"),
        ("delete jobs", "DELETE", f"{errors.jobs}/recorded-x"),
        ("deletecollection jobs", "DELETE", errors.jobs),
        ("list pods", "GET", errors.pods),
        ("watch pods", "GET", f"{errors.pods}?watch=1"),
        ("delete pods", "DELETE", f"{errors.pods}/recorded-x"),
        ("get pods/log", "GET", f"{errors.pods}/recorded-x/log"),
        ("list events", "GET", EVENTS.format(ns=NAMESPACE)),
        ("list resourcequotas", "GET", f"{NAMESPACES}/{NAMESPACE}/resourcequotas"),
    ):
        body = errors.job_of("x", SLEEP) if method == "POST" else {} if method == "PATCH" else None
        headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        doing = {"POST": "create", "DELETE": "change", "PATCH": "change"}.get(method, "ask")
        errors.keep(f"403, {verb}", doing, nobody.ask(method, path, body, headers=headers))


def record_faults_of_the_caller(errors: Errors) -> None:
    server, jobs = errors.server, errors.jobs
    errors.keep("404, job", "ask", server.ask("GET", f"{jobs}/recorded-absent"))
    errors.keep("404, delete", "change", server.ask("DELETE", f"{jobs}/recorded-absent"))
    errors.keep("404, log", "ask", server.ask("GET", f"{errors.pods}/recorded-absent/log"))
    errors.keep("404, no such path", "ask", server.ask("GET", "/apis/batch/v0/jobs"))
    made = server.do("POST", jobs, errors.job_of("taken", SLEEP, pod={"nodeSelector": {"disk": "none"}}))
    errors.keep("409 AlreadyExists", "create", server.ask("POST", jobs, errors.job_of("taken", SLEEP)))
    server.do("PATCH", f"{jobs}/recorded-taken", {"metadata": {"annotations": {"a": "b"}}},
        headers={"Content-Type": "application/merge-patch+json"})  # fmt: skip
    errors.keep("409 Conflict, update", "change", server.ask("PUT", f"{jobs}/recorded-taken", made))
    wrong = {"preconditions": {"uid": "00000000-0000-4000-8000-999999999999"}}
    errors.keep("409 Conflict, delete", "change", server.ask("DELETE", f"{jobs}/recorded-taken", wrong))
    errors.keep("422, immutable", "change", server.ask("PATCH", f"{jobs}/recorded-taken", {"spec": {"completions": 7}},
        headers={"Content-Type": "application/merge-patch+json"}))  # fmt: skip
    until(lambda: server.do("GET", errors.pods)["items"])
    waiting = server.do("GET", errors.pods)["items"][0]["metadata"]["name"]
    errors.keep("log of a pod without node", "ask", server.ask("GET", f"{errors.pods}/{waiting}/log"))
    creating = errors.job_of("creating", SLEEP, {"image": "UPPER case"})
    server.do("POST", jobs, creating)
    by_label = {"labelSelector": "org.chrisproject.pman.instance=creating"}
    until(lambda: [p for p in server.do("GET", errors.pods, params=by_label)["items"]
        if p["status"].get("containerStatuses")])  # fmt: skip
    pod = server.do("GET", errors.pods, params=by_label)["items"][0]["metadata"]["name"]
    errors.keep("400, log of a container that has not started", "ask", server.ask("GET", f"{errors.pods}/{pod}/log"))
    server.do("DELETE", jobs, params={"propagationPolicy": "Background"})

    bad_name = errors.job_of("x", SLEEP)
    bad_name["metadata"]["name"] = "Bad_Name"
    errors.keep("422, name", "create", server.ask("POST", jobs, bad_name))
    errors.create(
        "422, limits below requests", container={"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}
    )
    errors.create("422, mounts", container={"volumeMounts": [{"name": "absent", "mountPath": "/m"}]})
    errors.create("422, node selector", pod={"nodeSelector": {"bad key!": "x"}})
    errors.create("422, sub-path", container={"volumeMounts": [{"name": "s", "mountPath": "/m", "subPath": "../x"}]},
        pod={"volumes": [{"name": "s", "emptyDir": {}}]})  # fmt: skip
    errors.create("400, quantity", container={"resources": {"limits": {"cpu": "many"}}})
    errors.keep("400, not JSON", "create", server.ask("POST", jobs, "{"))
    errors.keep("415", "change", server.ask("PATCH", f"{jobs}/recorded-x", {}, headers={"Content-Type": "text/plain"}))
    errors.keep("400, continue", "ask", server.ask("GET", jobs, params={"limit": "1", "continue": "garbage"}))
    errors.keep("400, selector", "ask", server.ask("GET", jobs, params={"labelSelector": "a=b=c"}))
    long = errors.job_of("x", SLEEP)
    long["metadata"]["annotations"] = {"a": "x" * 300_000}
    errors.keep("422, annotations too long", "create", server.ask("POST", jobs, long))
    errors.keep("too large for etcd", "create", server.ask("POST", jobs, errors.job_of("x", ["x" * 2_000_000])))
    errors.keep("413", "create", server.ask("POST", jobs, errors.job_of("x", ["x" * 4_000_000])))


def record_admission(errors: Errors) -> None:
    server, namespaced = errors.server, f"{NAMESPACES}/recorded-quota"
    limits = {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}
    with namespace_of(server, "recorded-quota"):
        quota = {"metadata": {"name": "full"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
        with made(server, f"{namespaced}/resourcequotas", quota):
            until(lambda: "hard" in server.do("GET", f"{namespaced}/resourcequotas/full")["status"])
            errors.create("403, quota of jobs", "recorded-quota")
        quota = {"metadata": {"name": "pods"}, "spec": {"hard": {"pods": "0"}}}
        with made(server, f"{namespaced}/resourcequotas", quota):
            until(lambda: "hard" in server.do("GET", f"{namespaced}/resourcequotas/pods")["status"])
            errors.job_events("quota of pods", "recorded-quota", "quota-of-pods")
        quota = {"metadata": {"name": "memory"}, "spec": {"hard": {"limits.memory": "1Gi"}}}
        with made(server, f"{namespaced}/resourcequotas", quota):
            until(lambda: "hard" in server.do("GET", f"{namespaced}/resourcequotas/memory")["status"])
            errors.job_events("quota without limits", "recorded-quota", "quota-without-limits")
        with made(server, f"{namespaced}/limitranges", {"metadata": {"name": "small"}, "spec": limits}):
            big = {"resources": {"limits": {"memory": "1Gi"}}}
            time.sleep(1)  # until admission has heard of it
            make, errors.job_of = errors.job_of, lambda name, command: make(name, command, big)
            errors.job_events("limit range", "recorded-quota", "limit-range")
            errors.job_of = make
    errors.create("404, namespace absent", "recorded-absent")
    errors.keep("list, namespace absent", "ask", server.ask("GET", JOBS.format(ns="recorded-absent")))
    with namespace_of(server, "recorded-restricted", **{"pod-security.kubernetes.io/enforce": "restricted",
                          "pod-security.kubernetes.io/warn": "restricted"}):  # fmt: skip
        errors.create("warning, pod security", "recorded-restricted")
        errors.job_events("pod security", "recorded-restricted", "pod-security")
        bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "recorded-bare"},
                "spec": errors.job_of("x", SLEEP)["spec"]["template"]["spec"]}  # fmt: skip
        answer = server.ask("POST", PODS.format(ns="recorded-restricted"), bare)
        errors.keep("403, pod security of a pod", "create", answer)
    record_policies(errors)
    record_terminating(errors)


def record_policies(errors: Errors) -> None:
    group = "/apis/admissionregistration.k8s.io/v1"
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
    rules = [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}]
    policy = {"metadata": {"name": "recorded-policy"}, "spec": {"failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": rules} | here,
        "validations": [{"expression": "false", "message": "jobs need a cost centre"}]}}  # fmt: skip
    binding = {"metadata": {"name": "recorded-policy"},
               "spec": {"policyName": "recorded-policy", "validationActions": ["Deny"]}}  # fmt: skip
    with (
        made(errors.server, f"{group}/validatingadmissionpolicies", policy),
        made(errors.server, f"{group}/validatingadmissionpolicybindings", binding),
    ):
        until(lambda: not _would_be_accepted(errors))
        errors.create("422, admission policy")
    until(lambda: _would_be_accepted(errors))
    unreachable = {"url": "https://127.0.0.1:9/recorded"}
    hook = {"name": "hook.recorded.test", "clientConfig": unreachable, "sideEffects": "None", "rules": rules,
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 1} | here  # fmt: skip
    hooks = {"metadata": {"name": "recorded-hook"}, "webhooks": [hook]}
    with made(errors.server, f"{group}/validatingwebhookconfigurations", hooks):
        until(lambda: not _would_be_accepted(errors))
        errors.create("500, webhook away")
    until(lambda: _would_be_accepted(errors))


def _would_be_accepted(errors: Errors) -> bool:
    """What a policy says is heard some time later."""
    body = errors.job_of("x", SLEEP)
    return errors.server.ask("POST", errors.jobs, body, params={"dryRun": "All"}).status_code == 201


def record_terminating(errors: Errors) -> None:
    """A namespace stays terminating as long as one of its objects has a finalizer."""
    name, server = "recorded-ending", errors.server
    with namespace_of(server, name):
        held = f"{NAMESPACES}/{name}/configmaps"
        server.do("POST", held, {"metadata": {"name": "held", "finalizers": ["recorded.test/held"]}})
        server.do("DELETE", f"{NAMESPACES}/{name}")
        try:
            errors.create("403, namespace terminating", name)
        finally:
            server.do("PATCH", f"{held}/held", {"metadata": {"finalizers": None}},
                headers={"Content-Type": "application/merge-patch+json"})  # fmt: skip


def record_expiry(errors: Errors) -> None:
    server, jobs = errors.server, errors.jobs
    for name in ("one", "two"):
        server.do("POST", jobs, errors.job_of(name, SLEEP, suspend=True))
    page = server.do("GET", jobs, params={"limit": "1"})
    token = page["metadata"]["continue"]
    old = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))) | {"rv": 1}
    token = base64.urlsafe_b64encode(json.dumps(old).encode()).decode().rstrip("=")
    errors.keep("410, continue", "ask", server.ask("GET", jobs, params={"limit": "1", "continue": token}))
    errors.keep("410, watch", "ask", server.ask("GET", jobs, params={"watch": "1", "resourceVersion": "1"}))
    future = {"resourceVersion": "999999999", "limit": "1"}
    errors.keep("504, list of the future", "ask", server.ask("GET", jobs, params=future))
    server.do("DELETE", jobs, params={"propagationPolicy": "Background"})


def record_overload(errors: Errors) -> None:
    """A level of priority that has one seat and no queue refuses most of what comes at the same time."""
    group, name = "/apis/flowcontrol.apiserver.k8s.io/v1", "recorded-squeezed"
    user = {"kind": "ServiceAccount", "serviceAccount": {"name": "squeezed", "namespace": NAMESPACE}}
    rule = {"subjects": [user], "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}  # fmt: skip
    seats = {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}
    level = {"type": "Limited", "limited": seats}
    flow = {"priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 50, "rules": [rule]}
    squeezed = errors.server.as_user(errors.token_of("squeezed"))
    with ExitStack() as stack:
        stack.enter_context(
            made(errors.server, f"{group}/prioritylevelconfigurations", {"metadata": {"name": name}, "spec": level})
        )
        stack.enter_context(made(errors.server, f"{group}/flowschemas", {"metadata": {"name": name}, "spec": flow}))
        refused: list[requests.Response] = []

        def squeeze() -> bool:
            with ThreadPoolExecutor(30) as pool:
                answers = list(pool.map(lambda _: squeezed.ask("GET", errors.jobs), range(300)))
            refused.extend(answer for answer in answers if answer.status_code == 429)
            return bool(refused)

        until(squeeze)
        errors.keep("429", "ask", refused[0])
    service = {"name": "recorded-absent", "namespace": NAMESPACE}
    spec = {"group": "recorded.test", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    spec |= {"service": service, "insecureSkipTLSVerify": True}
    api = {"metadata": {"name": "v1.recorded.test"}, "spec": spec}
    with made(errors.server, "/apis/apiregistration.k8s.io/v1/apiservices", api):
        url = f"/apis/recorded.test/v1/namespaces/{NAMESPACE}/jobs"
        until(lambda: errors.server.ask("GET", url).status_code == 503)
        errors.keep("503, nobody serves this API", "ask", errors.server.ask("GET", url))


def record_errors(server: Server) -> Json:
    errors = Errors(server)
    with namespace_of(server, NAMESPACE):
        record_rights(errors)
        record_faults_of_the_caller(errors)
        record_admission(errors)
        record_expiry(errors)
        record_overload(errors)
    return errors.kept
