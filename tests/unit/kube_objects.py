"""Jobs and pods as Kubernetes 1.35 shows them, for the tests of the backend's pure parts."""

from functools import cache
from typing import Any

from backends._kubernetes.identity import build_labels, job_annotations, job_name, pod_annotations
from pman_core.job import JobSpec
from pman_core.request import JobRequest
from pman_core.settings import Settings, load_settings
from tests.unit.payloads import GENERATION, request

Object = dict[str, Any]

BODY = request("it's {{.Name}} $HOME $(HOME) $$", "A=1", "B=x=$(A)")
STARTED, FINISHED, LATER = "2026-11-25T12:00:01Z", "2026-11-25T12:00:05Z", "2026-11-25T12:00:07Z"


def spec(generation: str = GENERATION, **fields: Any) -> JobSpec:
    return JobSpec(generation, "site", JobRequest(**(BODY | fields)))


@cache
def common(**values: Any) -> Settings:
    """Return frozen settings: to read them takes longer than most tests of pure functions."""
    return load_settings(
        **({"container_env": "kubernetes", "storebase": "/no/store", "job_namespace": "plugins"} | values)
    )


def job(
    *conditions: str | tuple[str, str, str],
    of: JobSpec | None = None,
    version: int = 100,
    annotations: dict[str, str] | None = None,
    parallelism: int = 1,
    **status: Any,
) -> Object:
    """A Job; each condition a type, or type, reason and message."""
    of = of or spec()
    listed = [(condition, "", "") if isinstance(condition, str) else condition for condition in conditions]
    shown: Object = dict(status)
    if listed:
        shown["conditions"] = [
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": LATER}
            for kind, reason, message in listed
        ]
    return {
        "metadata": {
            "name": job_name(of.jid, of.generation),
            "uid": f"uid-{of.generation}",
            "resourceVersion": str(version),
            "labels": build_labels(of, common()),
            "annotations": job_annotations(of) | (annotations or {}),
        },
        "spec": {"parallelism": parallelism},
        "status": shown,
    }


def pod(
    phase: str = "Pending",
    state: Object | None = None,
    *,
    of: JobSpec | None = None,
    index: int = 0,
    version: int = 100,
    node: str = "node1",
    memory: str = "300Mi",
    **status: Any,
) -> Object:
    """A pod; ``state`` is that of its container, which it has none of without."""
    of = of or spec()
    shown: Object = {"phase": phase} | status
    if state is not None:
        shown["containerStatuses"] = [{"name": "plugin", "state": state}]
    return {
        "metadata": {
            "name": f"{job_name(of.jid, of.generation)}-{index}",
            "uid": f"uid-pod-{index}",
            "resourceVersion": str(version),
            "labels": build_labels(of, common()),
            "annotations": pod_annotations(of) | {"batch.kubernetes.io/job-completion-index": str(index)},
        },
        "spec": {
            "nodeName": node,
            "activeDeadlineSeconds": 60,
            "containers": [{"name": "plugin", "resources": {"limits": {"memory": memory}}}],
        },
        "status": shown,
    }


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def running() -> Object:
    return {"running": {"startedAt": STARTED}}


def terminated(code: int, reason: str = "Error", message: str = "", finished: str = FINISHED) -> Object:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": STARTED,
            "finishedAt": finished,
        }
    }


def unseen() -> Object:
    """Of a container of whose end its node does not know, as of one that has never begun when its pod is deleted."""
    message = "The container could not be located when the pod was terminated"
    end = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": message}
    return {"terminated": end | {"startedAt": None, "finishedAt": None}}


def missed() -> Object:
    """Of a container that was gone when containerd came back."""
    return terminated(255, "Unknown", finished=LATER)


def event(reason: str, message: str, kind: str = "Warning", at: str = STARTED) -> Object:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": at, "metadata": {}}


def beside(own: Object, other: Object, phase: str = "Running", **more: Any) -> Object:
    """Statuses come in the order of the names."""
    shown = pod(phase, own, **more)
    shown["status"]["containerStatuses"].insert(0, {"name": "istio-proxy", "state": other})
    return shown
