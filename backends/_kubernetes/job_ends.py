"""What is known of an end of which a Job alone tells, whose pods are gone. Pure.

The texts: https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/controller/job/pod_failure_policy.go

========================================  ====================================================  ======================
condition ``Failed`` of the Job           what it is                                            reason
========================================  ====================================================  ======================
``DeadlineExceeded``                                                                            TIME_LIMIT
``PodFailurePolicy``, exit code           the pod is gone, its code is in the text              by the code
``PodFailurePolicy``, condition           the pod is gone, it was disrupted                     NODE_FAIL
anything else                             a pod was deleted before it was counted               VANISHED
========================================  ====================================================  ======================

An exit code may be one that a kubelet or a container runtime has made up: see :mod:`backends._kubernetes.ends`.
"""

import re
from dataclasses import dataclass

from backends._exit_codes import describe_exit, reason_of
from backends._kubernetes.identity import Object
from pman_core.states import Reason

MADE_UP = {
    128: "it could not be started",
    137: "its pod was deleted before it had begun",
    255: "its node has lost sight of it",
}
"""What else an exit code may stand for, if all that is known is the code."""
FAILED_WITH = re.compile(r"failed with exit code (\d+) matching FailJob rule")
FAILED_POD = re.compile(r"[Pp]od [^/ ]+/([^/ ]+) (?:failed|has condition)")
DISRUPTED = "has condition DisruptionTarget matching FailJob rule"


@dataclass(frozen=True, slots=True)
class End:
    """How a pod ended."""

    native: str
    reason: Reason
    message: str
    exit_code: int | None = None


def culprit_of(condition: Object) -> str:
    """Return the name of the pod because of which a Job has failed; empty if that is not told."""
    found = FAILED_POD.search(str(condition.get("message") or ""))
    return found[1] if found else ""


def end_of_condition(condition: Object) -> End:
    """Return what the condition ``Failed`` of a Job tells, whose pods are gone."""
    reason, message = str(condition.get("reason") or ""), str(condition.get("message") or "")
    if reason == "DeadlineExceeded":
        return End(reason, Reason.TIME_LIMIT, message)
    if reason == "PodFailurePolicy" and (found := FAILED_WITH.search(message)):
        code = int(found[1])
        or_else = f", or {MADE_UP[code]}" if code in MADE_UP else ""
        return End(reason, reason_of(code), f"{describe_exit(code)}{or_else}; its pod is gone", code)
    if reason == "PodFailurePolicy" and DISRUPTED in message:
        said = "its pod was disrupted and is gone: preempted, evicted, or its node was lost or drained"
        return End("DisruptionTarget", Reason.NODE_FAIL, said)
    return End(reason or "Failed", Reason.VANISHED, f"its pod is gone; all that is left of it: {reason}: {message}")
