"""Records what a real Kubernetes says of each outcome: ``python -m tests.recorded.record_kubernetes KUBECONFIG``.

Writes ``tests/recorded/kubernetes/*.json``, which the unit tests and the fake API server read:

* ``states.json``: a job, its pods and their events at one moment, by the name of that moment
* ``lives.json``: everything that the two watches told of some jobs, in the order of the server
* ``errors.json``: refusals, with status, headers and body
* ``answers.json``: whole replies of the calls that the backend makes

The cluster is that of ``testbed/kube/up.sh``, with one node and administrator's rights: a namespace and some objects of
the cluster are made, all named ``recorded...``, and deleted at the end. Times stay as they were.
"""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.recorded.kube_answers import record_answers
from tests.recorded.kube_errors import namespace_of, record_errors
from tests.recorded.kube_jobs import HUNGRY, LABEL, PLAIN, SLEEP, job_of, sh
from tests.recorded.kube_recorder import (
    EVENTS,
    JOBS,
    PODS,
    Json,
    Life,
    Server,
    anonymous,
    as_lines,
    brief,
    brief_event,
    moment,
)

NAMESPACE = "recorded"
SLOT = "pman.test~1slot"
LIVES = {
    "unschedulable", "suspended", "image pull refused", "complete", "exit 7", "exit 7, plain job", "out of memory",
    "no such command", "deadline of the pod", "deadline of the job", "three complete", "one of three fails",
    "suspended while running", "resumed", "pod deleted", "pod deleted at once", "pod deleted, plain job",
    "evicted by the api", "preempted",
    "deleted in the background", "deleted in the foreground", "deleted at once",
}  # fmt: skip
"""Of these every event is kept."""
PARTS = ("lives", "errors", "answers")
"""What may be asked for by itself; ``lives`` is ``states`` too."""


class Recorder:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.jobs, self.pods = JOBS.format(ns=NAMESPACE), PODS.format(ns=NAMESPACE)
        self.states: Json = {}
        self.lives: Json = {}

    @contextmanager
    def job(self, name: str, *args: Any, **more: Any) -> Iterator[Life]:
        """Make a job, follow it, remove it."""
        body = job_of(name, *args, **more)
        life = Life(self.server, NAMESPACE, f"{LABEL}={name}")
        try:
            self.server.do("POST", self.jobs, body)
            yield life
        finally:
            self.remove(name)

    def remove(self, name: str) -> None:
        query = {"propagationPolicy": "Background", "gracePeriodSeconds": "0"}
        self.server.ask("DELETE", f"{self.jobs}/recorded-{name}", params=query)
        self.server.ask("DELETE", self.pods, params={"labelSelector": f"{LABEL}={name}", "gracePeriodSeconds": "0"})

    def see(self, name: str, label: str | None = None) -> None:
        """Keep how job and pods are just now."""
        query = {"labelSelector": f"{LABEL}={label or name}"}
        pods = self.server.do("GET", self.pods, params=query)["items"]
        jobs = self.server.do("GET", self.jobs, params=query)["items"]
        events = self.server.do("GET", EVENTS.format(ns=NAMESPACE))["items"]
        mine = {found["metadata"]["uid"] for found in (*pods, *jobs)}
        self.keep(name, jobs[0] if jobs else None, pods, [e for e in events if e["involvedObject"].get("uid") in mine])

    def keep(self, name: str, job: Json | None, pods: list[Json], events: list[Json]) -> None:
        self.states[name] = {
            "job": job and brief({"apiVersion": "batch/v1", "kind": "Job"} | job),
            "pods": [brief({"apiVersion": "v1", "kind": "Pod"} | pod) for pod in pods],
            "events": [brief_event(event) for event in events],
        }
        print(name, job and job["status"].get("conditions"), [_shown(pod) for pod in pods])  # noqa: T201

    def live(self, name: str, life: Life) -> None:
        if name in LIVES:
            self.lives[name] = [{"type": event["type"], "object": moment(event["object"])} for event in life.so_far()]

    def run(self, name: str, *args: Any, until: Callable[[list[Json]], bool], **more: Any) -> None:
        label = name.replace(" ", "-").replace(",", "").lower()
        with self.job(label, *args, **more) as life:
            life.until(name, until)
            time.sleep(0.3)
            self.see(name, label)
            self.live(name, life)


def _shown(pod: Json) -> str:
    status = pod["status"]
    states = [container.get("state") for container in status.get("containerStatuses", ())]
    return f"{status.get('phase')} {status.get('reason', '')} {states}"


def of_kind(events: list[Json], kind: str) -> list[Json]:
    return [event["object"] for event in events if event["object"]["kind"] == kind]


def ended(events: list[Json]) -> bool:
    jobs = of_kind(events, "Job")
    conditions = jobs[-1]["status"].get("conditions", ()) if jobs else ()
    return any(one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions)


def waits_for(reason: str) -> Callable[[list[Json]], bool]:
    """Whether a pod has ever waited for that reason."""
    return lambda events: any(
        container.get("state", {}).get("waiting", {}).get("reason") == reason
        for pod in of_kind(events, "Pod")
        for container in pod["status"].get("containerStatuses", ())
    )


def running(number: int = 1) -> Callable[[list[Json]], bool]:
    def is_it(events: list[Json]) -> bool:
        jobs = of_kind(events, "Job")
        return bool(jobs) and jobs[-1]["status"].get("ready", 0) == number

    return is_it


def unschedulable(events: list[Json]) -> bool:
    conditions = [one for pod in of_kind(events, "Pod") for one in pod["status"].get("conditions", ())]
    return any(one.get("reason") == "Unschedulable" for one in conditions)


def suspended(events: list[Json]) -> bool:
    jobs = of_kind(events, "Job")
    conditions = jobs[-1]["status"].get("conditions", ()) if jobs else ()
    return any((one["type"], one["status"]) == ("Suspended", "True") for one in conditions)


def gone(events: list[Json]) -> bool:
    return sum(event["type"] == "DELETED" for event in events) == 2


def record_waiting(recorder: Recorder) -> None:
    run = recorder.run
    first_pod = lambda events: bool(of_kind(events, "Pod"))  # noqa: E731
    with recorder.job("created", ["true"], pod={"nodeSelector": {"disk": "none"}}) as life:
        events = life.until("created", first_pod)
        recorder.keep("created", of_kind(events, "Job")[0], [], [])
        recorder.keep("pod created", of_kind(events, "Job")[-1], of_kind(events, "Pod")[:1], [])
    run("unschedulable", SLEEP, pod={"nodeSelector": {"disk": "none"}}, until=unschedulable)
    run("too large", SLEEP, {"resources": {"requests": {"cpu": "1000"}}}, until=unschedulable)
    run("no such pvc", SLEEP, pod={"volumes": [{"name": "s", "persistentVolumeClaim": {"claimName": "absent"}}]},
        until=unschedulable)  # fmt: skip
    run("suspended", SLEEP, suspend=True, until=suspended)
    run("image pull refused", SLEEP, {"image": "registry.invalid/none:1"}, until=waits_for("ErrImagePull"))
    run("image pull backoff", SLEEP, {"image": "registry.invalid/none:1"}, until=waits_for("ImagePullBackOff"))
    run("image never pulled", SLEEP, {"image": "absent:1", "imagePullPolicy": "Never"},
        until=waits_for("ErrImageNeverPull"))  # fmt: skip
    run("invalid image name", SLEEP, {"image": "UPPER case"}, until=waits_for("InvalidImageName"))
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "a"}}}]
    run("no such secret", SLEEP, {"env": env}, until=waits_for("CreateContainerConfigError"))
    run("root refused", SLEEP, pod={"securityContext": {"runAsNonRoot": True}},
        until=waits_for("CreateContainerConfigError"))  # fmt: skip
    mount = {"volumes": [{"name": "s", "hostPath": {"path": "/no-such-folder-of-a-recording", "type": "Directory"}}]}
    with recorder.job("failed-mount", SLEEP, {"volumeMounts": [{"name": "s", "mountPath": "/m"}]}, mount) as life:
        life.until("ContainerCreating", waits_for("ContainerCreating"))
        time.sleep(3)  # until an event tells why
        recorder.see("failed mount", "failed-mount")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        image = f"127.0.0.1:{silent.getsockname()[1]}/slow:1"
        with recorder.job("pulling", SLEEP, {"image": image}) as life:
            life.until("ContainerCreating", waits_for("ContainerCreating"))
            time.sleep(2)
            recorder.see("pulling")


def record_ends(recorder: Recorder) -> None:
    run = recorder.run
    limit = {"resources": {"limits": {"memory": "64Mi"}}}
    run("running", SLEEP, until=running())
    run("complete", sh("echo done; sleep 1"), until=ended)
    run("complete at once", ["true"], until=ended)
    run("exit 7", sh("sleep 1; exit 7"), until=ended)
    run("exit 7, plain job", sh("sleep 1; exit 7"), until=ended, **PLAIN)
    run("signal 15", sh("sh -c 'kill -TERM $$'; exit $?"), until=ended)
    run("killed", sh("sh -c 'kill -KILL $$'; exit $?"), until=ended)
    run("out of memory", HUNGRY, limit, until=ended)
    run("out of memory, a child", sh(f"{HUNGRY[2].removeprefix('exec ')}; exit 3"), limit, until=ended)
    run("no such command", ["/no/such"], until=ended)
    run("not executable", ["/etc/passwd"], until=ended)
    run("rejected by the kubelet", SLEEP, {"resources": {"requests": {"cpu": "1000"}}}, {"nodeName": "node1"},
        until=ended)  # fmt: skip
    run("deadline of the job", SLEEP, activeDeadlineSeconds=2, until=ended)
    run("deadline of the pod", SLEEP, pod={"activeDeadlineSeconds": 2}, until=ended)
    storage = {"resources": {"limits": {"ephemeral-storage": "1Mi"}}}
    run("evicted by the kubelet", sh("dd if=/dev/zero of=/big bs=1M count=30; sleep 1000"), storage, until=ended)
    indexed = {"completionMode": "Indexed", "parallelism": 3, "completions": 3}
    run("three running", SLEEP, until=running(3), **indexed)
    run("three complete", sh("sleep 3"), until=ended, **indexed)
    one_fails = sh('test "$JOB_COMPLETION_INDEX" = 1 && sleep 2 && exit 9; sleep 1000')
    run("one of three fails", one_fails, until=ended, **indexed)
    tolerant = indexed | {"backoffLimit": 6, "backoffLimitPerIndex": 0}
    two_fail = sh('test "$JOB_COMPLETION_INDEX" = 1 || exit 9')
    run("two of three fail", two_fail, until=ended, **tolerant)


def record_endings(recorder: Recorder) -> None:
    server = recorder.server

    def patch(label: str, change: Json) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        server.do("PATCH", f"{recorder.jobs}/recorded-{label}", change, headers=headers)

    def delete(path: str, **query: str) -> None:
        server.do("DELETE", path, params=query)

    def one_pod(life: Life) -> str:
        return f"{recorder.pods}/{of_kind(life.so_far(), 'Pod')[-1]['metadata']['name']}"

    def resumed(events: list[Json]) -> bool:
        status = of_kind(events, "Job")[-1]["status"]
        return any((c["type"], c["status"]) == ("Suspended", "False") for c in status["conditions"]) and running()(
            events
        )

    endings: dict[str, tuple[Callable[[Life], object], Callable[[list[Json]], bool]]] = {
        "suspended while running": (lambda _: patch("suspended-while-running", {"spec": {"suspend": True}}), suspended),
        "resumed": (lambda _: (patch("resumed", {"spec": {"suspend": True}}), time.sleep(4),
            patch("resumed", {"spec": {"suspend": False}})), resumed),
        "deadline set while running": (
            lambda _: patch("deadline-set-while-running", {"spec": {"activeDeadlineSeconds": 1}}), ended),
        "pod deleted": (lambda life: delete(one_pod(life)), ended),
        "pod deleted, plain job": (lambda life: delete(one_pod(life)), ended),
        "pod deleted at once": (lambda life: delete(one_pod(life), gracePeriodSeconds="0"), ended),
        "evicted by the api": (
            lambda life: server.do("POST", f"{one_pod(life)}/eviction",
                {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": one_pod(life).split("/")[-1]}}),
            ended),
        "deleted in the background": (
            lambda _: delete(f"{recorder.jobs}/recorded-deleted-in-the-background", propagationPolicy="Background"),
            gone),
        "deleted in the foreground": (
            lambda _: delete(f"{recorder.jobs}/recorded-deleted-in-the-foreground", propagationPolicy="Foreground"),
            gone),
        "deleted at once": (
            lambda _: delete(f"{recorder.jobs}/recorded-deleted-at-once", propagationPolicy="Background",
                gracePeriodSeconds="0"), gone),
    }  # fmt: skip
    for name, (act, is_over) in endings.items():
        label = name.replace(",", "").replace(" ", "-")
        pod = {"terminationGracePeriodSeconds": 3} if "ground" in name else None
        plain = PLAIN if "plain" in name else {}
        with recorder.job(label, sh("trap '' TERM; sleep 1000 & wait"), pod=pod, **plain) as life:
            life.until("running", running())
            act(life)
            if "ground" in name:
                time.sleep(0.5)
                recorder.see(f"being {name}", label)
            life.until(name, is_over)
            time.sleep(0.5)
            if is_over is not gone:
                recorder.see(name, label)
            recorder.live(name, life)


def record_preemption(recorder: Recorder) -> None:
    """Two jobs want the one slot that the node is given for this."""
    server, headers = recorder.server, {"Content-Type": "application/json-patch+json"}
    node = server.do("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    status, classes = f"/api/v1/nodes/{node}/status", "/apis/scheduling.k8s.io/v1/priorityclasses"
    server.do("PATCH", status, [{"op": "add", "path": f"/status/capacity/{SLOT}", "value": "1"}], headers=headers)
    server.do("POST", classes, {"metadata": {"name": "recorded-high"}, "value": 1000})
    slot = {"resources": {"limits": {"pman.test/slot": "1"}}}
    try:
        with recorder.job("preempted", SLEEP, slot) as life:
            life.until("running", running())
            with recorder.job("preempting", SLEEP, slot, {"priorityClassName": "recorded-high"}):
                life.until("preempted", ended)
                time.sleep(0.3)
                recorder.see("preempted")
                recorder.live("preempted", life)
    finally:
        server.do("DELETE", f"{classes}/recorded-high")
        server.do("PATCH", status, [{"op": "remove", "path": f"/status/capacity/{SLOT}"}], headers=headers)


def main(kubeconfig: str, *parts: str) -> None:
    server = Server(Path(kubeconfig))
    folder = Path(__file__).parent / "kubernetes"
    folder.mkdir(exist_ok=True)

    def write(name: str, content: Json) -> None:
        stable = {key: anonymous(content[key]) for key in sorted(content)}
        (folder / f"{name}.json").write_text(as_lines(stable) + "\n")

    if "lives" in (parts or PARTS):
        recorder = Recorder(server)
        with namespace_of(server, NAMESPACE):
            record_waiting(recorder)
            record_ends(recorder)
            record_endings(recorder)
            record_preemption(recorder)
        write("states", recorder.states)
        write("lives", recorder.lives)
    for name, record in (("errors", record_errors), ("answers", record_answers)):
        if name in (parts or PARTS):
            write(name, record(server))


if __name__ == "__main__":
    main(*sys.argv[1:])
