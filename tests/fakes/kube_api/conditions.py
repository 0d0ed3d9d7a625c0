"""How the parts of a cluster write their conditions: in a fixed order, with the time of the last change of each.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

from typing import Any

from tests.fakes.kube_api.storage import Json, now

READINESS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def is_true(found: Json, kind: str) -> bool:
    """Whether a job or pod has the condition, and it is true."""
    return any(one["type"] == kind and one["status"] == "True" for one in conditions_of(found))


def conditions_of(found: Json) -> list[Json]:
    listed: list[Json] = found["status"].get("conditions", [])
    return listed


def set_of_job(status: Json, kind: str, reason: str, message: str, *, is_so: bool = True) -> None:
    """Write a condition of a job: a new one goes to the end."""
    at = now()
    condition = {"type": kind, "status": str(is_so), "lastProbeTime": at, "lastTransitionTime": at}
    condition |= {"reason": reason, "message": message}
    listed = status.setdefault("conditions", [])
    known = [number for number, one in enumerate(listed) if one["type"] == kind]
    if not known:
        listed.append(condition)
    elif listed[known[0]]["status"] != condition["status"]:
        listed[known[0]] = condition


def of_pod(pod: Json, states: dict[str, tuple[bool, str, str]]) -> list[Json]:
    """Return a pod's conditions: the kubelet's in its order, each (is so, reason, message), behind all others."""
    before = {one["type"]: one for one in conditions_of(pod)}
    generation = pod["metadata"]["generation"]
    others = [one for one in before.values() if one["type"] not in READINESS]
    return others + [
        condition(kind, states[kind], generation, before.get(kind)) for kind in READINESS if kind in states
    ]


def condition(
    kind: str, told: tuple[bool, str, str], generation: int | None = None, before: Json | None = None
) -> Json:
    """Return one condition of a pod; ``before`` keeps its time if the status is the same."""
    is_so, reason, message = told
    same = before is not None and before["status"] == str(is_so)
    found: dict[str, Any] = {
        "lastProbeTime": None,
        "lastTransitionTime": before["lastTransitionTime"] if same else now(),
    }
    found |= {"status": str(is_so), "type": kind} | ({} if generation is None else {"observedGeneration": generation})
    return found | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
