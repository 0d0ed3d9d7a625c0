"""Pods on nodes that do not answer: who alone could end them is away, and when they are given up. Pure.

As long as the node's object stays, Kubernetes waits for its kubelet for ever. What it does: a node that is silent for
some 50 s is tainted as unreachable, and a pod that does not tolerate that (for 300 s, unless its tolerations say
otherwise) is told to go by the taint manager.
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions

The rule: a pod that was told so, or was being deleted before it was, is lost NODE_LOST_GRACE_S after it should have
ended. That time is its ``deletionTimestamp``, which has its own grace in it; both times are the API server's, so a
restart of pman does not begin the grace anew, and no clock of pman's hosts matters.

That a node is silent, its ``Ready`` Unknown and its lease old, is no reason, for however long: its containers run on
as long as nobody ends them, a node may come back and tell their ends, and a verdict would end the job for good. If all
nodes are silent Kubernetes tells no pod to go (it takes itself for the one that is cut off), so nobody is given up; a
cluster of one node is never in another case. The message of the job tells it: see ``silence_in`` of ``ends``.
https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from backends._kubernetes.ends import disruption_in
from backends._kubernetes.identity import VERDICT, Object
from backends._kubernetes.state import conditions_of, has_ended
from backends._kubernetes.verdict import Verdict
from pman_core.states import Reason

TAINT_MANAGER = "DeletionByTaintManager"
"""https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions"""
TRACKED = "batch.kubernetes.io/job-tracking"
"""The Job controller's finalizer: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers"""


def lost_pods(pods: Sequence[Object], now: datetime | None, grace_s: float) -> list[Object]:
    """Return the pods that are given up; none of them if the API server's time is not known."""
    if now is None:
        return []
    return [pod for pod in pods if _is_told_to_go(pod) and now - _due_at(pod) > timedelta(seconds=grace_s)]


def verdict_on(lost: Sequence[Object]) -> Verdict:
    """Return the end of a job whose pods are lost."""
    nodes = " and ".join(sorted({str(pod["spec"].get("nodeName") or "?") for pod in lost}))
    since = min(_due_at(pod) for pod in lost)
    said = f"node {nodes} is lost, it should have ended its pod at {since:%Y-%m-%d %H:%M:%S} UTC: {disruption_in(lost)}"
    return Verdict(Reason.NODE_FAIL, said, datetime.now(UTC))


def makes_no_more_pods(job: Object) -> bool:
    """Whether the Job controller itself has said that it makes no pod in the place of one that goes.

    What only we have written it may not have read yet. ``Suspended`` alone may be somebody else's, and be resumed: so
    it counts if we have stopped the Job besides.
    """
    conditions = conditions_of(job)
    is_stopped = VERDICT in (job["metadata"].get("annotations") or {}) and job["spec"].get("parallelism") == 0
    return bool(conditions.keys() & {"FailureTarget", "SuccessCriteriaMet"}) or (
        is_stopped and "Suspended" in conditions
    )


def is_tracked(pod: Object) -> bool:
    """Whether a Job still counts on the pod; if not, its controller knows that the Job is gone or has ended."""
    return TRACKED in (pod["metadata"].get("finalizers") or ())


def _is_told_to_go(pod: Object) -> bool:
    told = conditions_of(pod).get("DisruptionTarget", {}).get("reason") == TAINT_MANAGER
    return told and bool(pod["metadata"].get("deletionTimestamp")) and not has_ended(pod)


def _due_at(pod: Object) -> datetime:
    return datetime.fromisoformat(pod["metadata"]["deletionTimestamp"])
