"""What keeps a job from starting and does not pass by itself: its Job would wait for ever. Pure.

None of this ever fails a Job: https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff,
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/images/types.go and
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/kuberuntime/kuberuntime_container.go
What a kubelet cannot mount, and pods that the Job controller may not make, are told by events alone:
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from backends._kubernetes.errors import NOT_NOW
from backends._kubernetes.identity import Object
from backends._kubernetes.init_containers import (
    CRASHES,
    failed_init_container,
    init_statuses,
    is_crashing,
    waits_to_be_tried,
    words_of,
)
from backends._kubernetes.state import conditions_of, container_state, has_begun, has_ended
from pman_core.states import Reason

WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "ImageInspectError": Reason.IMAGE_PULL,
    "RegistryUnavailable": Reason.IMAGE_PULL,
    "SignatureValidationFailed": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.START_FAILED,
    "CreateContainerError": Reason.START_FAILED,
    "RunContainerError": Reason.START_FAILED,
}
"""``waiting.reason`` of a container."""
BEING_MADE = frozenset({"ContainerCreating", "PodInitializing"})
"""What a container waits for as long as its kubelet has nothing else to say; the latter in a pod with init containers:
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses)"""
EVENTS = {
    "FailedMount": Reason.START_FAILED,
    "FailedAttachVolume": Reason.START_FAILED,
    "FailedMapVolume": Reason.START_FAILED,
    "FailedCreatePodSandBox": Reason.START_FAILED,
    "FailedCreate": Reason.REJECTED,
}
"""Reasons of events of type Warning; any other event after one of these says that it has passed."""
PULLING = "Pulling"
"""The reason of the event that says what a container waits for that is only being created: no trouble, but long."""
PASSES = re.compile(
    rf"{NOT_NOW}|"
    r"^Error creating: (Internal error occurred: |Timeout: |etcdserver: |Post |Too many requests|"
    r"the server (has received too many|is currently unable|was unable)|The \w+ operation against |"
    r"Operation cannot be fulfilled on )"
)
"""A pod that a quota refuses: there is room when others have ended. And one that nobody could decide on: a webhook or
etcd does not answer, a quota was being counted, an API server has just been started. For a Job that pman itself makes
the same is Unavailable.
https://github.com/kubernetes/apimachinery/blob/v0.35.0/pkg/api/errors/errors.go"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a job does not start."""

    native: str
    reason: Reason
    message: str
    is_lasting: bool = True
    """It will not pass by itself; if not, it is only told."""
    is_tried_again: bool = False
    """Just now Kubernetes does try it again: it lasts, but is not over before that has failed, too."""


def trouble_of(pods: Iterable[Object]) -> Trouble | None:
    """Return what the containers of a job's pods tell."""
    return min(
        (trouble for pod in pods for trouble in _troubles_of(pod)), key=lambda found: found.is_tried_again, default=None
    )


def who_is_silent(job: Object, pods: Sequence[Object]) -> str:
    """Return the UID of what must be asked for its events: of a pod that is placed and has no container, or of a Job
    that has no pods. Empty if all that is to be known can be seen.
    """
    if conditions_of(job):
        return ""
    if not pods:
        return str(job["metadata"]["uid"])
    for pod in pods:
        is_placed = bool((pod.get("spec") or {}).get("nodeName")) and not has_ended(pod) and not has_begun(pod)
        if is_placed and all(waiting.get("reason", "ContainerCreating") in BEING_MADE for waiting in _waits_of(pod)):
            return str(pod["metadata"]["uid"])
    return ""


def may_be_stuck(job: Object, pods: Sequence[Object]) -> bool:
    """Whether a pod still waits in vain, or may: what was in trouble a while ago may run by now."""
    trouble = trouble_of(pods)
    return bool(who_is_silent(job, pods)) if trouble is None else not trouble.is_tried_again


def trouble_in(events: Iterable[Object]) -> Trouble | None:
    """Return what the last event of an object tells, if that is trouble, or that an image is pulled."""
    last = max(events, key=_seen_at, default=None)
    if last is None:
        return None
    native, message = str(last.get("reason") or ""), str(last.get("message") or "")
    if native == PULLING:
        return Trouble(native, Reason.IMAGE_PULL, message or native, is_lasting=False)
    reason = EVENTS.get(native) if last.get("type") == "Warning" else None
    if reason is None:
        return None
    return Trouble(native, reason, f"{native}: {message}", is_lasting=not PASSES.search(message))


def _troubles_of(pod: Object) -> Iterator[Trouble]:
    for waiting in _waits_of(pod):
        native = str(waiting.get("reason"))
        if native in WAITING:
            yield Trouble(native, WAITING[native], f"{native}: {waiting.get('message') or ''}".removesuffix(": "))
    failed = None if has_ended(pod) else failed_init_container(pod)
    if failed is not None and is_crashing(failed):
        said, is_tried_again = f"{CRASHES}: {words_of(failed)}", not waits_to_be_tried(failed)
        yield Trouble(CRASHES, Reason.START_FAILED, said, is_tried_again=is_tried_again)


def _waits_of(pod: Object) -> list[Object]:
    """Return what the job's container waits for, and those that a site has start before it; nothing once it has begun.

    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/
    """
    if has_begun(pod):
        return []
    states = (container_state(pod), *((status.get("state") or {}) for status in init_statuses(pod)))
    return [state["waiting"] for state in states if state.get("waiting")]


def _seen_at(event: Object) -> tuple[str, str]:
    """All forms of time that an event may have are RFC 3339 in UTC, and sort as text up to their seconds; within one
    second the names do, which end in nanoseconds:
    https://github.com/kubernetes/client-go/blob/v0.35.0/tools/record/event.go (makeEvent)
    """
    metadata = event["metadata"]
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    at = max((str(time) for time in times if time), default=str(metadata.get("creationTimestamp") or ""))
    return at, str(metadata.get("name") or "")
