"""The scheduler and the kubelet of the cluster's only node: gives pods their place, runs their containers, writes how
they are. One step at a time, in the order that ``tests/recorded/kubernetes/lives.json`` shows.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.fakes.kube_api.conditions import READINESS, condition, of_pod
from tests.fakes.kube_api.containers import CannotStart, Container
from tests.fakes.kube_api.events import tell
from tests.fakes.kube_api.init_containers import InitContainers
from tests.fakes.kube_api.job_controller import has_ended, key_of
from tests.fakes.kube_api.storage import Json, Storage, now

NODE = "node1"
IMAGE_NAME = re.compile(r"[a-z0-9]+(?:[._:/@-]+[a-zA-Z0-9]+)*")
NOWHERE = (
    "0/1 nodes are available: {why}. no new claims to deallocate,"
    " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
NO_MATCH = "1 node(s) didn't match Pod's node affinity/selector"
DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
EPOCH = "1970-01-01T00:00:00Z"


UNSEEN: Json = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
    "startedAt": None,
    "finishedAt": None,
}
"""What a kubelet says of a container that has not begun when its pod is deleted, or its time is over."""
NO_LOG = 'failed to try resolving symlinks in path "{path}": lstat {path}: no such file or directory'
"""What a kubelet answers, with 200, instead of a log that is not there any more."""
LOST = (255, "Unknown")
"""What a container runtime says of one that ran before it was started anew."""


@dataclass
class Run:
    """What the kubelet remembers of a pod."""

    log: Path
    seen_at_s: float
    """By the monotonic clock: when it took the pod."""
    before: InitContainers
    container: Container | None = None
    started_at: str = ""
    end: Json | None = None
    """The container's ``terminated``."""
    pod_reason: tuple[str, str] | None = None
    oom: bool = False
    is_lost: bool = False
    """Its runtime does not know how the container ended."""
    kill_at_s: float | None = None
    """A SIGTERM has been sent, and at this time SIGKILL follows."""

    def close(self) -> None:
        """End all its processes."""
        self.before.close()
        if self.container is not None:
            self.container.kill()


class Node:
    """``step`` does the next thing for one pod, and says whether there was any."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._folder = Path(mkdtemp(prefix="pman-fake-node-"))
        self._runs: dict[str, Run] = {}
        self.second_s = 1.0
        """So long a second of a grace or of a deadline of a pod takes: tests are in a hurry."""
        self.labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}
        self.full = ""
        """Why no pod can be placed, ``1 Insufficient cpu``; empty: there is room."""
        self.images: dict[str, tuple[str, str]] = {}
        """Images that cannot be had: the reason and the message of the container that waits for them."""
        self.is_silent = False
        """The kubelet neither does nor tells anything, as one that is stopped; containers go on."""
        self.silent_for: set[str] = set()
        """UIDs of pods of which that is so: as if they were on a node of their own."""

    def close(self) -> None:
        for run in self._runs.values():
            run.close()
        shutil.rmtree(self._folder)

    def log(self, pod: Json, container: str) -> bytes | None:
        """Return what a container of a pod has written; ``None`` if it has not started."""
        run = self._runs.get(pod["metadata"]["uid"])
        if run is not None and container in {one["name"] for one in pod["spec"].get("initContainers", ())}:
            return run.before.log(container)
        if run is None or not run.started_at:
            return None
        if not run.log.exists():
            return NO_LOG.format(path=f"/var/log/pods/{pod['metadata']['name']}/{container}/0.log").encode()
        return run.log.read_bytes()

    def runs(self) -> set[str]:
        """Return the UIDs of the pods that it has."""
        return set(self._runs)

    def step(self, pod: Json) -> bool:
        if "nodeName" not in pod["spec"]:
            return "deletionTimestamp" not in pod["metadata"] and self._place(pod)
        if self.is_silent or pod["metadata"]["uid"] in self.silent_for:
            return False
        before = self._storage.version
        run = self._runs.get(pod["metadata"]["uid"])
        if run is None:
            if not has_ended(pod):
                self._take(pod)
        elif not has_ended(pod):
            self._advance(pod, run)
        elif "deletionTimestamp" in pod["metadata"]:
            self._storage.update(key_of(pod), lambda found: found["metadata"].update(deletionGracePeriodSeconds=0))
        return self._storage.version != before

    def forget(self) -> None:
        """End what belongs to pods that are gone."""
        if self.is_silent:
            return
        present = {pod["metadata"]["uid"] for pod in self._storage.all("pods")}
        for uid in self._runs.keys() - present - self.silent_for:
            run = self._runs.pop(uid)
            run.close()
            run.log.unlink(missing_ok=True)

    # What tests do to a pod

    def evict(self, pod: Json, message: str) -> None:
        """The node runs out of something, and ends the pod."""
        self._end_by_node(pod, ("Evicted", message))

    def run_out_of_memory(self, pod: Json) -> None:
        """The kernel ends the pod's first process for want of memory."""
        with self._storage.changed:
            run = self._runs[pod["metadata"]["uid"]]
            assert run.container is not None, "the pod has no container"
            run.oom = True
            run.container.kill()

    def lose_log(self, pod: Json) -> None:
        """Somebody clears the node's disk."""
        with self._storage.changed:
            self._runs[pod["metadata"]["uid"]].log.unlink()

    def start_anew(self, pod: Json) -> None:
        """The node is started anew, with the container runtime; of what ran in the pod nobody knows the end."""
        with self._storage.changed:
            run = self._runs[pod["metadata"]["uid"]]
            assert run.container is not None, "the pod has no container"
            run.is_lost = True
            run.container.kill()

    def _end_by_node(self, pod: Json, why: tuple[str, str]) -> None:
        with self._storage.changed:
            run = self._runs[pod["metadata"]["uid"]]
            run.pod_reason = why
            if run.container is not None:
                run.container.kill()

    # The scheduler

    def _place(self, pod: Json) -> bool:
        wanted = pod["spec"].get("nodeSelector", {}).items()
        why = self.full or ("" if wanted <= self.labels.items() else NO_MATCH)
        generation = pod["metadata"]["generation"]
        known = {one["type"]: one for one in pod["status"].get("conditions", ())}.get("PodScheduled")

        def change(found: Json) -> None:
            if why:
                told = (False, "Unschedulable", NOWHERE.format(why=why))
            else:
                found["spec"]["nodeName"], told = NODE, (True, "", "")
            found["status"]["conditions"] = [condition("PodScheduled", told, generation if why else None, known)]

        before = self._storage.version
        self._storage.update(key_of(pod), change)
        if not why:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            tell(self._storage, pod, "Normal", "Scheduled", f"Successfully assigned {name} to {NODE}")
        return self._storage.version != before

    # The kubelet

    def _take(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        log = self._folder / uid
        self._runs[uid] = Run(log, time.monotonic(), InitContainers(pod, log))
        self._write(pod, _being_made(pod), "Pending", startTime=now())

    def _advance(self, pod: Json, run: Run) -> None:
        is_marked = "deletionTimestamp" in pod["metadata"]
        if is_marked and pod["status"].get("observedGeneration") != pod["metadata"]["generation"]:
            self._storage.update(key_of(pod), _observe)
        elif run.end is not None:  # the second of the two things that are told of an end
            self._finish(pod, run, run.pod_reason)
        elif run.container is None:
            if is_marked or self._is_overdue(pod, run):
                run.end = UNSEEN if run.before.have_let_through else None
                self._finish(pod, run, None if is_marked else DEADLINE)
            elif run.before.step(self.second_s):
                self._start(pod, run)
            elif run.before.have_failed:
                self._finish(pod, run, None)
            else:
                self._write(pod, _being_made(pod), "Pending")
        else:
            self._follow(pod, run, is_marked)

    def _start(self, pod: Json, run: Run) -> None:
        if waiting := self._obstacle(pod):
            if waiting["reason"] != "ContainerCreating":
                self._write(pod, {"waiting": waiting}, "Pending")
            return
        run.started_at = now()
        try:
            run.container = Container(pod, run.log)
        except CannotStart as error:
            terminated = {"exitCode": 128, "reason": "StartError", "message": str(error), "startedAt": EPOCH}
            run.end = terminated | {"finishedAt": now(), "containerID": _container_id(pod)}
            self._write(pod, {"terminated": run.end}, "Pending")
            return
        self._write(pod, {"running": {"startedAt": run.started_at}}, "Running")

    def _obstacle(self, pod: Json) -> Json | None:
        """Return what a container waits for; a mount that fails is told by an event alone."""
        container = pod["spec"]["containers"][0]
        image = container["image"]
        if image in self.images:
            reason, message = self.images[image]
            return {"reason": reason, "message": message}
        if not IMAGE_NAME.fullmatch(image):
            return {"reason": "InvalidImageName", "message": f'couldn\'t parse image name "{image}"'}
        for volume in pod["spec"].get("volumes", ()):
            host = volume.get("hostPath", {})
            if host.get("type") == "Directory" and not Path(host["path"]).is_dir():
                why = f'MountVolume.SetUp failed for volume "{volume["name"]}" : hostPath type check failed'
                message = f"{why}: {host['path']} is not a directory"
                run = self._runs[pod["metadata"]["uid"]]
                if not run.pod_reason:
                    run.pod_reason = ("", message)
                    tell(self._storage, pod, "Warning", "FailedMount", message)
                return {"reason": "ContainerCreating"}
        for variable in container.get("env", ()):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                name = variable["valueFrom"]["secretKeyRef"]["name"]
                return {"reason": "CreateContainerConfigError", "message": f'secret "{name}" not found'}
        return None

    def _follow(self, pod: Json, run: Run, is_marked: bool) -> None:
        assert run.container is not None
        code = run.container.exit_code()
        if code is not None:
            run.end = self._terminated(pod, run, code)
            if not is_marked and run.pod_reason is None:
                self._write(pod, {"terminated": run.end}, "Running")
            else:
                self._finish(pod, run, run.pod_reason)
        elif is_marked:
            self._end_in_time(run, pod["metadata"]["deletionGracePeriodSeconds"])
        elif self._is_overdue(pod, run):
            run.pod_reason = DEADLINE
            self._write(pod, {"running": {"startedAt": run.started_at}}, "Running", is_ending=True)
            self._end_in_time(run, pod["spec"].get("terminationGracePeriodSeconds", 30))
        elif run.kill_at_s is not None:
            self._end_in_time(run, 0)

    def _end_in_time(self, run: Run, grace_s: int) -> None:
        assert run.container is not None
        if run.kill_at_s is None:
            run.kill_at_s = time.monotonic() + grace_s * self.second_s
            run.container.terminate()
        elif time.monotonic() >= run.kill_at_s:
            run.container.kill()

    def _is_overdue(self, pod: Json, run: Run) -> bool:
        limit_s = pod["spec"].get("activeDeadlineSeconds")
        if limit_s is None or run.kill_at_s is not None:
            return False
        return time.monotonic() - run.seen_at_s >= limit_s * self.second_s

    def _terminated(self, pod: Json, run: Run, code: int) -> Json:
        if run.is_lost:
            code, reason = LOST
        else:
            reason = "OOMKilled" if run.oom else "Completed" if code == 0 else "Error"
        end = {"exitCode": code, "reason": reason, "startedAt": run.started_at, "finishedAt": now()}
        return end | {"containerID": _container_id(pod)}

    def _finish(self, pod: Json, run: Run, why: tuple[str, str] | None) -> None:
        state = {"terminated": run.end} if run.end else _being_made(pod)
        succeeded = run.end is not None and run.end["exitCode"] == 0 and not why
        more = {"reason": why[0], "message": why[1]} if why and why[0] else {}
        run.end = run.end or {}
        run.before.close()
        self._write(pod, state, "Succeeded" if succeeded else "Failed", **more)

    def _write(self, pod: Json, state: Json, phase: str, *, is_ending: bool = False, **more: Any) -> None:
        name = pod["spec"]["containers"][0]["name"]
        is_over = phase in {"Succeeded", "Failed"}
        if "terminated" in state or is_over or is_ending:
            is_fine = state.get("terminated", {}).get("exitCode") == 0
            why = ("PodCompleted" if is_fine else "PodFailed", "")
        else:
            is_fine = False
            why = ("ContainersNotReady", f"containers with unready status: [{name}]")
        is_ready = "running" in state and not is_ending
        is_placed = state.get("waiting", {}).get("reason") != "ContainerCreating"
        states = {
            "PodReadyToStartContainers": (not is_over and is_placed, "", ""),
            "Initialized": (True, "PodCompleted" if is_fine else "", ""),
            "Ready": (is_ready, *(("", "") if is_ready else why)),
            "ContainersReady": (is_ready, *(("", "") if is_ready else why)),
            "PodScheduled": (True, "", ""),
        }

        def change(found: Json) -> None:
            status = found["status"]
            status |= {"conditions": of_pod(found, states), "phase": phase, "hostIP": "192.0.2.1"}
            status |= {"hostIPs": [{"ip": "192.0.2.1"}], "observedGeneration": found["metadata"]["generation"]} | more
            if is_placed:
                status |= {"podIP": "192.0.2.10", "podIPs": [{"ip": "192.0.2.10"}]}
            status["containerStatuses"] = [_container_status(found, state, is_ready)]
            if before := self._runs[pod["metadata"]["uid"]].before.statuses():
                status["initContainerStatuses"] = before

        self._storage.update(key_of(pod), change)


def _observe(pod: Json) -> None:
    generation = pod["metadata"]["generation"]
    listed = pod["status"].get("conditions", [])
    ours = [one | {"observedGeneration": generation} for one in listed if one["type"] in READINESS]
    others = [one for one in listed if one["type"] not in READINESS]
    pod["status"] |= {"observedGeneration": generation, "conditions": others + ours}


def _being_made(pod: Json) -> Json:
    return {"waiting": {"reason": "PodInitializing" if "initContainers" in pod["spec"] else "ContainerCreating"}}


def _container_id(pod: Json) -> str:
    return "containerd://" + pod["metadata"]["uid"].replace("-", "") * 2


def _container_status(pod: Json, state: Json, is_ready: bool) -> Json:
    container = pod["spec"]["containers"][0]
    status = {"name": container["name"], "image": container["image"], "imageID": "", "state": state, "lastState": {}}
    status |= {"ready": is_ready, "started": is_ready, "restartCount": 0}
    if "volumeMounts" in container:
        status["volumeMounts"] = container["volumeMounts"]
    if "waiting" in state:
        return status
    if requests := container["resources"].get("requests"):
        status["allocatedResources"] = requests
    status |= {"containerID": _container_id(pod), "imageID": f"sha256:{'0' * 64}", "resources": container["resources"]}
    return status
