"""Containers that a site, as with a service mesh, has start before a job's own, and how they keep that from it. Pure.

A plain one that fails ends its pod. One with ``restartPolicy: Always``, which Kubernetes calls a sidecar, is begun
again, for ever, and what comes after it never begins. Between two tries a kubelet shows the last one's end for a while,
then why it waits, then the next one, which may be told as running; what it counts goes on.
https://kubernetes.io/docs/concepts/workloads/pods/init-containers/ and
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backends._kubernetes.ends import describe_end
from backends._kubernetes.identity import Object
from backends._kubernetes.state import has_begun

Status = Mapping[str, Any]
HAS_RUN = frozenset({"running", "terminated"})
CRASHES = "CrashLoopBackOff"
"""``waiting.reason`` of a container that has ended and is begun again after a while."""


def init_statuses(pod: Object) -> Sequence[Status]:
    """Return how they are, in the order in which they are started."""
    return (pod.get("status") or {}).get("initContainerStatuses") or ()


def failed_init_container(pod: Object) -> Status | None:
    """Return the one because of which the job's own does not begin; ``None`` if none has failed, or it has begun.

    It is the last that has run: what came before it was up once (``started``), or is done (``ready``), which is enough.
    """
    run = [one for one in init_statuses(pod) if _state(one).keys() & HAS_RUN or is_crashing(one)]
    if not run or has_begun(pod) or run[-1].get("started") or run[-1].get("ready"):
        return None
    has_failed = "terminated" in _state(run[-1]) and last_end_of(run[-1]).get("exitCode") != 0
    return run[-1] if has_failed or is_crashing(run[-1]) else None


def is_crashing(status: Status) -> bool:
    """Whether it is begun again and again, and is not up."""
    return waits_to_be_tried(status) or bool(status.get("restartCount"))


def waits_to_be_tried(status: Status) -> bool:
    """Whether its kubelet lets it wait just now."""
    return (_state(status).get("waiting") or {}).get("reason") == CRASHES


def last_end_of(status: Status) -> Status:
    """Return how it has ended the last time, as its kubelet tells it; empty if it has not."""
    ends = ((status.get(name) or {}).get("terminated") or {} for name in ("state", "lastState"))
    return next((end for end in ends if "exitCode" in end), {})


def words_of(status: Status) -> str:
    """Return what its kubelet says of it, and the facts."""
    count = status.get("restartCount") or 0
    facts = f"init container {status['name']}, {describe_end(last_end_of(status))}, restart count {count}"
    said = (_state(status).get("waiting") or {}).get("message")
    return f"{said}; {facts}" if said else facts


def _state(status: Status) -> Status:
    state: Status = status.get("state") or {}
    return state
