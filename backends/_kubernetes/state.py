"""From what Kubernetes shows of a Job and its pods to what pman says of the job. Pure.

The fields: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus,
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus
How a Job ends: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup

Only a condition of the Job ends a job, or pman's own verdict when nothing of the job lives any more. Who deletes a Job
by hand may leave its pods (``--cascade=orphan``): nobody makes others, so their end is that of the job:

=============================  ===================================================  ==================================
the Job                        its pods                                             what pman says
=============================  ===================================================  ==================================
no status at all               none                                                 PENDING: nobody has looked at it
no condition                   none, and none has ended                             PENDING, ``Created``
no condition                   none, but some have ended                            Unknown: its end is being written
no condition                   none has started (below)                             PENDING with the reason
no condition                   a container runs, or has run                         RUNNING; if a pod is to go, the
                                                                                    message says why, and so if its
                                                                                    node is silent: see ``ends``;
                                                                                    if its node is lost, it is ended:
                                                                                    see ``lost_nodes``
FailureTarget,                 any                                                  as without: only hints of the end,
SuccessCriteriaMet                                                                  pods are still ending
Suspended, no verdict          any                                                  PENDING: by Kueue, or by hand
verdict (annotation)           some live                                            as without, and the message says it
verdict, Suspended             none lives                                           CANCELLED or FAILED: the verdict
verdict, Complete or Failed    any                                                  the verdict
Complete                       any                                                  SUCCEEDED
any, or none                   own containers all ended, beside others of the site  SUCCEEDED or FAILED, as they did
end kept (annotation)          any                                                  SUCCEEDED or FAILED, as they had
no condition                   one failed so, other workers go on                   RUNNING; it is ended
Failed                         one has failed                                       FAILED by the first, see ``ends``
Failed                         none is left, or only those that were ended because  FAILED by the condition
                               of the first, which is gone
is gone                        some live, or not all have been made                 Unknown
is gone                        all have ended                                       SUCCEEDED or FAILED, as they did
=============================  ===================================================  ==================================

Why a pod waits: its condition PodScheduled is false (Unschedulable, and the scheduler's words), or the ``waiting`` of
its container (ContainerCreating, ErrImagePull ...). ``status.active`` is not asked: it counts pods that only wait.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backends._identity import Identity
from backends._kubernetes.ends import (
    disruption_in,
    end_of_containers,
    end_of_job,
    end_of_pods,
    have_ended_beside_others,
    own_status,
    seen_end,
    silence_in,
)
from backends._kubernetes.identity import WORKERS, Object, identity_of, job_name
from backends._kubernetes.job_ends import End
from backends._kubernetes.verdict import Verdict, kept_end_of, verdict_of
from pman_core.backend import Handle, Observed, Sighting, Unknown
from pman_core.states import Reason, State

HANDLE_VERSION = 1
ENDED_PHASES = frozenset({"Succeeded", "Failed"})
JOB_UID = "batch.kubernetes.io/controller-uid"
"""A label of pods: https://kubernetes.io/docs/reference/labels-annotations-taints/#batchkubernetesio-controller-uid"""


def handle_of(job: Object) -> Handle:
    """Return the handle of a Job: its UID, which no other Job of the same name has."""
    return Handle(HANDLE_VERSION, {"uid": job["metadata"]["uid"], "name": job["metadata"]["name"]})


def observed_from(job: Object, pods: Sequence[Object]) -> Sighting:
    """Return how the job is. ``pods`` must not be older than ``job``, or the exit codes of its end are missing."""
    identity = identity_of(job)
    if identity is None:
        raise ValueError("not a Job of pman")
    if job["metadata"].get("deletionTimestamp"):
        return Unknown("the Job is being deleted")
    conditions = conditions_of(job)
    verdict, kept = verdict_of(job["metadata"].get("annotations")), kept_end_of(job["metadata"].get("annotations"))
    if kept is not None:
        return _kept(identity, job, pods, kept)
    if verdict is None and have_ended_beside_others(pods, workers_of(job)):
        end = end_of_containers(pods)
        return _failed(identity, job, pods, {}, end) if end else _succeeded(identity, job, pods, {})
    if "Complete" in conditions or "Failed" in conditions:
        if verdict is not None:
            return _judged(identity, job, pods, verdict, conditions.get("Failed", {}))
        if "Complete" in conditions:
            return _succeeded(identity, job, pods, conditions["Complete"])
        return _failed(identity, job, pods, conditions["Failed"])
    if verdict is not None and "Suspended" in conditions and not is_alive(job, pods):
        return _judged(identity, job, pods, verdict, {})
    return _unfinished(identity, job, pods, "it is being ended" if verdict else "")


def workers_of(job: Object) -> str:
    """Return how many workers a Job was made for, as it says so."""
    return str(job["metadata"]["annotations"].get(WORKERS, ""))


def is_end_to_be_kept(job: Object, pods: Sequence[Object]) -> bool:
    """Whether a job has ended of which nothing may tell that soon: of several pods the Job controller may delete some.
    The one pod of a single worker stays.
    """
    annotations = job["metadata"]["annotations"]
    is_known = verdict_of(annotations) is not None or kept_end_of(annotations) is not None
    return len(pods) > 1 and not is_known and have_ended_beside_others(pods, workers_of(job))


def observed_from_pods(pods: Sequence[Object]) -> Sighting:
    """Return how a job is whose Job is not there. It may also have been made since: this is true all the same, because
    one pod that has failed ends a Job, and so do as many as it has workers that have succeeded.
    """
    metadata = pods[0]["metadata"]
    identity = identity_of(pods[0])
    if identity is None:
        raise ValueError("not a pod of pman")
    if not all(map(has_ended, pods)):
        return Unknown("its Job is gone, its pods are not yet")
    uid, name = metadata["labels"].get(JOB_UID, ""), job_name(identity.jid, identity.generation)
    job: Object = {"metadata": {"uid": uid, "name": name}}
    if end_of_pods(pods) is not None:
        return _failed(identity, job, pods, {})
    wanted = str(metadata["annotations"].get(WORKERS, ""))
    if not wanted.isdecimal():
        return Unknown("its Job is gone, and how many workers it had is not known any more")
    if len(pods) < int(wanted):
        return Unknown("its Job is gone, and not all of its pods are known")
    return _succeeded(identity, job, pods, {})


def conditions_of(item: Object) -> dict[str, Object]:
    """Return the conditions that are true, by type."""
    listed = (item.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in listed if condition["status"] == "True"}


def is_alive(job: Object, pods: Sequence[Object]) -> bool:
    """Whether anything of the job may still run, as far as both know."""
    status = job.get("status") or {}
    counted = (status.get("active") or 0) + (status.get("terminating") or 0)
    return bool(counted) or any(not has_ended(pod) for pod in pods)


def has_ended(pod: Object) -> bool:
    return phase_of(pod) in ENDED_PHASES


def has_begun(pod: Object) -> bool:
    """Whether the job's container runs, or has run: then the pod has a log."""
    return "running" in container_state(pod) or bool(seen_end(own_status(pod))) or started_at([pod]) is not None


def phase_of(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def container_state(pod: Object) -> Mapping[str, Any]:
    """Return ``{"waiting": {...}}``, ``{"running": {...}}`` or ``{"terminated": {...}}`` of the job's container."""
    state: Mapping[str, Any] = own_status(pod).get("state") or {}
    return state


def started_at(pods: Sequence[Object]) -> datetime | None:
    """Return when the first container started."""
    states = map(container_state, pods)
    times = [moment((state.get("running") or state.get("terminated") or {}).get("startedAt")) for state in states]
    return min((time for time in times if time is not None), default=None)


def moment(text: str | None) -> datetime | None:
    """Return a time of Kubernetes (RFC 3339, whole seconds)."""
    if not text or text.startswith("0001-") or text.startswith("1970-01-01T00:00:00"):
        return None  # of a container that never ran
    return datetime.fromisoformat(text).astimezone(UTC)


def waiting_words(pod: Object) -> tuple[str, str]:
    """Return why a pod does not run yet: a word, and the message."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason") or "Pending"), str(condition.get("message") or "")
    waiting = container_state(pod).get("waiting") or {}
    return str(waiting.get("reason") or "Pending"), str(waiting.get("message") or "")


def _unfinished(identity: Identity, job: Object, pods: Sequence[Object], more: str) -> Sighting:
    handle, status = handle_of(job), job.get("status") or {}
    began_at = started_at(pods)
    if began_at is not None:
        living = [pod for pod in pods if not has_ended(pod)]
        more = more or disruption_in(living) or silence_in(living)
        return _observed(identity, handle, State.RUNNING, "Running", more, started_at=began_at)
    if not pods:
        count = (status.get("failed") or 0) + (status.get("succeeded") or 0)
        uncounted = status.get("uncountedTerminatedPods") or {}
        if count or any(uncounted.values()):
            return Unknown("its pods have ended, and the Job does not say how yet")
        if "Suspended" in conditions_of(job):
            return _observed(identity, handle, State.PENDING, "Suspended", more or "the Job is suspended")
        return _observed(identity, handle, State.PENDING, "Created", more)
    if any(has_ended(pod) for pod in pods):  # refused by its node: it never had a container
        return _observed(identity, handle, State.PENDING, "Ending", more)
    word, message = waiting_words(min(pods, key=lambda pod: str(pod["metadata"]["name"])))
    return _observed(identity, handle, State.PENDING, word, more or (f"{word}: {message}" if message else word))


def _judged(identity: Identity, job: Object, pods: Sequence[Object], verdict: Verdict, condition: Object) -> Observed:
    """Whatever the workers that it has ended have ended with is not why a job has failed; only one that was to be
    cancelled is told by it.
    """
    is_cancelled = verdict.reason is Reason.CANCELLED
    began_at = started_at(pods)
    return _observed(
        identity,
        handle_of(job),
        State.CANCELLED if is_cancelled else State.FAILED,
        "Ended",
        verdict.message,
        reason=verdict.reason,
        exit_code=end_of_job(pods, condition).exit_code if is_cancelled else verdict.exit_code,
        started_at=began_at,
        finished_at=max(verdict.at, began_at) if began_at else verdict.at,
    )


def _kept(identity: Identity, job: Object, pods: Sequence[Object], end: Verdict) -> Observed:
    state, native = (State.SUCCEEDED, "Complete") if end.reason is None else (State.FAILED, "Failed")
    return _observed(
        identity,
        handle_of(job),
        state,
        native,
        end.message,
        reason=end.reason,
        exit_code=end.exit_code,
        started_at=started_at(pods),
        finished_at=end.at,
    )


def _succeeded(identity: Identity, job: Object, pods: Sequence[Object], condition: Object) -> Observed:
    began_at = started_at(pods)
    return _observed(
        identity,
        handle_of(job),
        State.SUCCEEDED,
        "Complete",
        exit_code=0,
        started_at=began_at,
        finished_at=_finished_at(pods, condition, began_at),
    )


def _failed(
    identity: Identity, job: Object, pods: Sequence[Object], condition: Object, end: End | None = None
) -> Observed:
    end = end or end_of_job(pods, condition)
    began_at = started_at(pods)
    return _observed(
        identity,
        handle_of(job),
        State.FAILED,
        end.native,
        end.message,
        reason=end.reason,
        exit_code=end.exit_code,
        started_at=began_at,
        finished_at=_finished_at(pods, condition, began_at),
    )


def _finished_at(pods: Sequence[Object], condition: Object, began_at: datetime | None) -> datetime | None:
    """Return when the last container ended; else when the Job's condition was written."""
    ended = [moment((container_state(pod).get("terminated") or {}).get("finishedAt")) for pod in pods]
    at = max((time for time in ended if time is not None), default=None) or moment(condition.get("lastTransitionTime"))
    return max(at, began_at) if at and began_at else at


def _observed(
    identity: Identity, handle: Handle, state: State, native: str, message: str = "", **more: Any
) -> Observed:
    return Observed(
        identity.jid, identity.generation, identity.digest, state, handle, native_state=native, message=message, **more
    )
