"""Why a pod has failed, and with it a Job. Pure.

Reasons of pods: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions,
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/events/event.go and
https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/eviction/helpers.go

========================================  ====================================================  ======================
what is read                              what it is                                            reason
========================================  ====================================================  ======================
pod ``reason: DeadlineExceeded``          its activeDeadlineSeconds                             TIME_LIMIT
pod ``reason: Evicted``                   its node had no memory or disk left                   NODE_FAIL
condition DisruptionTarget                preempted, evicted by somebody, node lost or drained  NODE_FAIL
pod ``reason:`` anything else             refused by its node (OutOfcpu ...), NodeLost          NODE_FAIL
container ``OOMKilled``                   more memory than its limit                            OOM_KILLED
container ``StartError``,                 no such command, not executable                       START_FAILED
``ContainerCannotRun``
container none, or                        nobody has seen an end of it:
``ContainerStatusUnknown``                its pod was deleted by hand                           VANISHED
                                          its node has lost sight of it                         NODE_FAIL
container ``Unknown``                     its node, or the runtime there, was started anew      NODE_FAIL
container exit code N                                                                           by N
container exit code 0                     another container of the pod has failed               NONZERO_EXIT
container not begun, init container N     a site's own, as of a service mesh, has failed        START_FAILED
                                          before its pod was told to go
========================================  ====================================================  ======================

Three exit codes are made up, no process has ended with them, and pman does not tell them:

* 137 with ``ContainerStatusUnknown``: a kubelet writes that of every container of whose end it does not know when its
  pod ends, so also of one that has never begun. ``TerminatePod`` of
  https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/status/status_manager.go
* 255 with ``Unknown``: containerd says that, when it has been started anew, of one that ran before and does not now.
  ``unknownExitCode`` of https://github.com/containerd/containerd/blob/v1.6.20/pkg/cri/server/helpers.go
* 128 with ``StartError``: so does it of one that could not be started. ``errorStartExitCode``, at the same place.

Where the Job alone is left, they cannot be told from the codes of processes: see :mod:`backends._kubernetes.job_ends`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backends._exit_codes import describe_exit, reason_of
from backends._kubernetes.identity import Object
from backends._kubernetes.job import CONTAINER
from backends._kubernetes.job_ends import End, culprit_of, end_of_condition
from backends._time_limit import describe_time_limit
from pman_core.states import Reason

NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
LOST_SIGHT = "Unknown"
UNSEEN = frozenset({"ContainerStatusUnknown", LOST_SIGHT})
NEVER, FOREVER_AGO = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)


def end_of_pods(pods: Sequence[Object]) -> End | None:
    """Return the end of the pod that failed first: the others were ended because of it. ``None`` if none failed.

    Times are whole seconds, so one that was told to go comes after one that went by itself. One whose own container was
    well has failed by another: of that it is not known when.
    """
    failed = _failed(pods)
    if not failed:
        return None
    return _end_of(min(failed, key=lambda pod: (_terminated(pod).get("exitCode") == 0, _ended_at(pod))))


def end_of_job(pods: Sequence[Object], condition: Object) -> End:
    """Return how a Job with the condition ``Failed`` has ended.

    Pods that were told to go are gone in a moment, and whoever looks then must be told the same, whatever the clocks of
    their nodes have said. So one that stays comes before them; if none does, it is the one that the condition names, be
    it still there or not. All pods of a Job whose own deadline is over were told to go because of that.
    """
    failed = _failed(pods)
    if stay := [pod for pod in failed if not pod["metadata"].get("deletionTimestamp")]:
        failed = stay
    elif condition.get("reason") == "DeadlineExceeded":
        failed = []
    elif culprit := culprit_of(condition):
        failed = [pod for pod in failed if pod["metadata"]["name"] == culprit]
    return end_of_pods(failed) or end_of_condition(condition)


def _failed(pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]


def have_ended_beside_others(pods: Sequence[Object], workers: str) -> bool:
    """Whether the job's own containers have all ended, by themselves, in pods in which a site has put others, too.

    The proxy of a service mesh goes on, and so do the pod and its Job, for ever; if it fails they fail, whatever the
    job did. The job is its own container. (What Kubernetes calls a sidecar does neither, and is no such container.)
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    statuses = [pod.get("status") or {} for pod in pods]
    are_alone = all(len(status.get("containerStatuses") or ()) < 2 for status in statuses)
    if are_alone or str(len(pods)) != workers:
        return False
    return all(map(_has_ended_by_itself, pods))


def end_of_containers(pods: Sequence[Object]) -> End | None:
    """Return the end of the container that failed first, whatever became of its pod. ``None`` if none failed."""
    failed = [pod for pod in pods if _terminated(pod).get("exitCode") != 0]
    return _end_of_container(min(failed, key=_ended_at)) if failed else None


def unnoticed_failure(pods: Sequence[Object]) -> End | None:
    """Return the end of a worker that has failed while a container beside it goes on: Kubernetes does not know of it,
    and would let the other workers wait for this one for ever.
    """
    failed = [pod for pod in pods if _terminated(pod).get("exitCode") and _goes_on(pod) and _has_ended_by_itself(pod)]
    return _end_of_container(min(failed, key=_ended_at)) if failed else None


def _end_of(pod: Object) -> End:
    status, terminated = pod["status"], _terminated(pod)
    code = exit_code_of(terminated)
    native, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if native == "DeadlineExceeded":
        limit_s = pod["spec"].get("activeDeadlineSeconds")
        return End(native, Reason.TIME_LIMIT, describe_time_limit(limit_s), code)
    disruption = _disruption_of(pod)
    if disruption is not None and not native:
        native, message = str(disruption.get("reason") or ""), str(disruption.get("message") or "")
    if native:
        return End(native, Reason.NODE_FAIL, f"{native}: {message}" if message else native, code)
    return _end_of_container(pod) if terminated else _end_of_unseen(pod)


def _end_of_unseen(pod: Object) -> End:
    unseen, told_at = told_end(own_status(pod)), _told_to_go_at(pod)
    failures = _failures_in(pod, "initContainerStatuses", before=told_at or NEVER)
    if failures and not unseen:  # else they had done what they are for, and were ended with the pod
        said = f"an init container has failed, so the job's own was not started: {failures}"
        return End("Failed", Reason.START_FAILED, said)
    statuses = (*((pod.get("status") or {}).get("initContainerStatuses") or ()), own_status(pod))
    if any(told_end(status).get("reason") == LOST_SIGHT for status in statuses):
        said = "its node, or the container runtime there, was started anew and does not know how the container ended"
        return End(LOST_SIGHT, Reason.NODE_FAIL, said)
    if told_at:
        return End("Failed", Reason.VANISHED, "its pod was deleted, and no end of its container was seen")
    return End("Failed", Reason.NODE_FAIL, str(unseen.get("message") or "its pod has failed and does not say why"))


def _end_of_container(pod: Object) -> End:
    terminated = _terminated(pod)
    code = terminated.get("exitCode")
    native, message = str(terminated.get("reason") or ""), str(terminated.get("message") or "")
    if native == "OOMKilled":
        return End(native, Reason.OOM_KILLED, f"out of memory, the limit was {_memory_limit(pod)}", code)
    if native in NOT_STARTED:
        return End(native, Reason.START_FAILED, message or native)
    exit_code = int(code or 0)
    if exit_code == 0:
        others = _failures_in(pod) or "nobody has seen how"
        return End("Failed", Reason.NONZERO_EXIT, f"a container beside the job's own has failed: {others}")
    return End("Failed", reason_of(exit_code), describe_exit(exit_code), exit_code)


def disruption_in(pods: Sequence[Object]) -> str:
    """Return why a pod that has not ended is to go, in Kubernetes' words; empty if none is.

    Its node may be gone: see :mod:`backends._kubernetes.lost_nodes`.
    https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    """
    found = next((found for pod in pods if (found := _disruption_of(pod)) is not None), {})
    return ": ".join(str(found[name]) for name in ("reason", "message") if found.get(name))


def silence_in(pods: Sequence[Object]) -> str:
    """Return since when a node does not answer for a pod that has not ended; empty if none is silent.

    When a node is silent its pods are marked as not ready, and not by its kubelet, which would give a reason. Nothing
    else is said of them as long as they are not told to go, and that may be for ever: see
    :mod:`backends._kubernetes.lost_nodes`.
    ``MarkPodsNotReady`` of
    https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/controller/util/node/controller_utils.go
    """
    for pod in pods:
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if condition["type"] == "Ready" and condition["status"] == "False" and not condition.get("reason"):
                node, since = pod["spec"].get("nodeName") or "?", condition.get("lastTransitionTime") or "?"
                return f"node {node} does not answer since {since}; the job may go on there"
    return ""


def _disruption_of(pod: Object) -> Object | None:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == "DisruptionTarget" and c["status"] == "True"), None)


def _has_ended_by_itself(pod: Object) -> bool:
    """Whether the job's own container ended before the pod was taken down, if it was or is about to be: a kubelet ends
    one container after the other, and says why at the end. Times are whole seconds.
    """
    ended_at, status, disruption = _terminated(pod).get("finishedAt"), pod["status"], _disruption_of(pod)
    if not ended_at or _time(ended_at) >= (_told_to_go_at(pod) or NEVER):
        return False
    if disruption is not None:
        return str(ended_at) < str(disruption.get("lastTransitionTime") or "")
    limit_s = pod["spec"].get("activeDeadlineSeconds")
    if limit_s is not None and status.get("startTime"):
        due_at = datetime.fromisoformat(status["startTime"]) + timedelta(seconds=limit_s)
        return status.get("reason") in {None, "", "DeadlineExceeded"} and datetime.fromisoformat(ended_at) < due_at
    return not status.get("reason")


def _goes_on(pod: Object) -> bool:
    """Whether a container of a pod that nobody has told to go has not ended."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any("terminated" not in (status.get("state") or {}) for status in statuses)


def _failures_in(pod: Object, statuses: str = "containerStatuses", before: datetime = NEVER) -> str:
    """Return which containers have failed, and how, earlier than at ``before``."""
    ends = {status["name"]: seen_end(status) for status in (pod.get("status") or {}).get(statuses) or ()}
    failed = {name: end for name, end in ends.items() if end.get("exitCode") and _time(end.get("finishedAt")) < before}
    return ", ".join(f"{name}, {describe_end(end)}" for name, end in failed.items())


def _terminated(pod: Object) -> Mapping[str, Any]:
    """Return the end of the job's own container; nothing if it has not ended, or nobody has seen how."""
    return seen_end(own_status(pod))


def own_status(pod: Object) -> Mapping[str, Any]:
    """Return the status of the job's own container; empty if its pod has none yet."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((status for status in statuses if status["name"] == CONTAINER), {})


def seen_end(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a container has ended; empty if it has not, or nobody has seen how."""
    end = told_end(status)
    return {} if end.get("reason") in UNSEEN else end


def describe_end(end: Mapping[str, Any]) -> str:
    """Return how a container is told to have ended, in words, without codes that are made up."""
    if end.get("reason") in NOT_STARTED:
        return f"not started: {end.get('message') or end['reason']}"
    code = exit_code_of(end)
    return "its end was not seen" if code is None else f"exit code {code}"


def exit_code_of(end: Mapping[str, Any]) -> int | None:
    """Return the exit code of a container's process; ``None`` if there is none, or it is made up."""
    return None if end.get("reason") in UNSEEN | NOT_STARTED else end.get("exitCode")


def told_end(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a container is told to have ended, whether somebody has seen it or not; empty if it has not."""
    end: Mapping[str, Any] = (status.get("state") or {}).get("terminated") or {}
    return end


def _ended_at(pod: Object) -> tuple[datetime, bool, str]:
    """What sorts pods that have failed. Of what nobody has seen end it is known when it was told to go, or when its
    node last said something new.
    """
    seen = _terminated(pod).get("finishedAt")
    at = _time(seen) if seen else _told_to_go_at(pod) or _last_change_of(pod)
    return at, _may_be_a_consequence(pod), str(pod["metadata"]["name"])


def _told_to_go_at(pod: Object) -> datetime | None:
    """Return when a pod was deleted: its ``deletionTimestamp`` has its grace in it, and both are shortened together.

    ``BeforeDelete`` of https://github.com/kubernetes/apiserver/blob/v0.35.0/pkg/registry/rest/delete.go
    """
    metadata = pod["metadata"]
    if not metadata.get("deletionTimestamp"):
        return None
    return _time(metadata["deletionTimestamp"]) - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)


def _last_change_of(pod: Object) -> datetime:
    """One that its node has refused has no conditions; its ``startTime`` is when that was."""
    status = pod.get("status") or {}
    times = (condition.get("lastTransitionTime") for condition in status.get("conditions") or ())
    return max((_time(at) for at in (status.get("startTime"), *times) if at), default=FOREVER_AGO)


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text)) if text else NEVER


def _may_be_a_consequence(pod: Object) -> bool:
    """Whether a pod was told to go, and not because it was disrupted: by its Job, when another failed, or by hand."""
    return bool(pod["metadata"].get("deletionTimestamp")) and _disruption_of(pod) is None


def _memory_limit(pod: Object) -> str:
    for container in pod["spec"]["containers"]:
        if container["name"] == CONTAINER:
            limit = (container.get("resources") or {}).get("limits", {}).get("memory")
            return str(limit or "that of its node")
    return "unknown"
