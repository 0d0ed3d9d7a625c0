"""Every native state of a Job and its pods, and what pman says of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from backends._kubernetes.ends import unnoticed_failure
from backends._kubernetes.identity import KEPT_END, VERDICT
from backends._kubernetes.state import has_begun, is_end_to_be_kept, moment, observed_from
from backends._kubernetes.verdict import MESSAGE_CHARS_MAX, Verdict, kept_end_of, verdict_of
from pman_core.backend import Observed, Sighting, Unknown
from pman_core.states import Reason, State
from tests.unit.kube_objects import (
    FINISHED,
    LATER,
    STARTED,
    Object,
    beside,
    job,
    missed,
    pod,
    running,
    spec,
    terminated,
    unseen,
    waiting,
)

UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu.",
}
PREEMPTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "PreemptionByScheduler",
    "message": "default-scheduler: preempting to accommodate a higher priority pod",
}
LOST_NODE = PREEMPTED | {
    "reason": "DeletionByTaintManager",
    "message": "Taint manager: deleting due to NoExecute taint",
}


def not_ready(reason: str = "") -> Object:
    return {"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": LATER}


POLICY = "PodFailurePolicy"
EXITED = "Container plugin for pod p/x failed with exit code 137 matching FailJob rule at index 1"
ANEW = "its node, or the container runtime there, was started anew and does not know how the container ended"
CANCELLED = {VERDICT: Verdict(Reason.CANCELLED, "ended on request", moment(LATER) or datetime.now(UTC)).to_json()}
PULL = {VERDICT: Verdict(Reason.IMAGE_PULL, "ErrImagePull: no", moment(LATER) or datetime.now(UTC)).to_json()}
NINE = {VERDICT: Verdict(Reason.NONZERO_EXIT, "exit code 9", moment(LATER) or datetime.now(UTC), 9).to_json()}

UNFINISHED: dict[str, tuple[Object, list[Object], State, str, str]] = {
    "nobody has looked at it": (job(), [], State.PENDING, "Created", ""),
    "its controller has": (job(startTime=STARTED), [], State.PENDING, "Created", ""),
    "active is not running": (job(active=1, ready=0), [], State.PENDING, "Created", ""),
    "no node": (
        job(active=1),
        [pod(conditions=[UNSCHEDULABLE])],
        State.PENDING,
        "Unschedulable",
        "Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.",
    ),
    "placed": (job(active=1), [pod()], State.PENDING, "Pending", "Pending"),
    "its container is made": (
        job(active=1),
        [pod(state=waiting("ContainerCreating"))],
        State.PENDING,
        "ContainerCreating",
        "ContainerCreating",
    ),
    "no image": (
        job(active=1),
        [pod(state=waiting("ErrImagePull", "not found"))],
        State.PENDING,
        "ErrImagePull",
        "ErrImagePull: not found",
    ),
    "running": (job(active=1, ready=1), [pod("Running", running())], State.RUNNING, "Running", ""),
    "a phase without a container": (job(active=1), [pod("Running")], State.PENDING, "Pending", "Pending"),
    "on a node that is gone": (
        job(active=1, ready=1),
        [pod("Running", running(), conditions=[LOST_NODE])],
        State.RUNNING,
        "Running",
        "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint",
    ),
    "on a node that is silent": (
        job(active=1),
        [pod("Running", running(), conditions=[not_ready()])],
        State.RUNNING,
        "Running",
        f"node node1 does not answer since {LATER}; the job may go on there",
    ),
    "not ready, says its kubelet": (
        job(active=1), [pod("Running", running(), conditions=[not_ready("ContainersNotReady")])],
        State.RUNNING, "Running", "",
    ),
    "ended before its node was silent": (
        job(active=1), [pod("Succeeded", terminated(0), conditions=[not_ready()])], State.RUNNING, "Running", "",
    ),
    "ended, not counted": (job(active=1), [pod("Succeeded", terminated(0))], State.RUNNING, "Running", ""),
    "failed, not counted": (job(active=1), [pod("Failed", terminated(1))], State.RUNNING, "Running", ""),
    "refused by its node": (job(active=1), [pod("Failed", reason="OutOfcpu")], State.PENDING, "Ending", ""),
    "a hint of failure": (job("FailureTarget", active=1), [pod("Running", running())], State.RUNNING, "Running", ""),
    "a hint of success": (
        job("SuccessCriteriaMet", succeeded=1), [pod("Succeeded", terminated(0))], State.RUNNING, "Running", "",
    ),
    "one of two waits": (
        job(active=2), [pod(index=0), pod("Running", running(), index=1)], State.RUNNING, "Running", "",
    ),
    "suspended by somebody": (job("Suspended"), [], State.PENDING, "Suspended", "the Job is suspended"),
    "being ended": (
        job(annotations=CANCELLED, active=1), [pod("Running", running())], State.RUNNING, "Running",
        "it is being ended",
    ),
    "being ended, its pod not gone": (
        job("Suspended", annotations=CANCELLED, parallelism=0), [pod()], State.PENDING, "Pending", "it is being ended",
    ),
    "being ended, its pod going": (
        job("Suspended", annotations=CANCELLED, parallelism=0, terminating=1), [], State.PENDING, "Suspended",
        "it is being ended",
    ),
    "being ended, its controller away": (
        job(annotations=CANCELLED, parallelism=0), [], State.PENDING, "Created", "it is being ended",
    ),
}  # fmt: skip


def deleted(item: Object) -> Object:
    """At FINISHED, with a grace of two seconds."""
    item["metadata"] |= {"deletionTimestamp": LATER, "deletionGracePeriodSeconds": 2}
    return item


ENDED: dict[str, tuple[Object, list[Object], State, Reason | None, int | None, str]] = {
    "success": (job("Complete", succeeded=1), [pod("Succeeded", terminated(0))], State.SUCCEEDED, None, 0, ""),
    "success, its pod gone": (job("SuccessCriteriaMet", "Complete"), [], State.SUCCEEDED, None, 0, ""),
    "exit code": (
        job("Failed"), [pod("Failed", terminated(3))], State.FAILED, Reason.NONZERO_EXIT, 3, "exit code 3",
    ),
    "signal": (
        job("Failed"), [pod("Failed", terminated(139))], State.FAILED, Reason.SIGNALLED, 139,
        "ended by signal 11 (SIGSEGV)",
    ),
    "the first to fail counts": (
        job("Failed"),
        [
            pod("Failed", terminated(137, finished=LATER), index=0),
            pod("Failed", terminated(5), index=1),
            pod("Succeeded", terminated(0), index=2),
        ],
        State.FAILED, Reason.NONZERO_EXIT, 5, "exit code 5",
    ),
    "the first to fail counts, and not one that was told to go in the same second": (
        job("Failed"),
        [deleted(pod("Failed", terminated(143), index=0)), pod("Failed", terminated(5), index=1)],
        State.FAILED, Reason.NONZERO_EXIT, 5, "exit code 5",
    ),
    "the first to fail counts, and not one that was told to go, on a node whose clock is behind": (
        job("Failed"),
        [
            deleted(pod("Failed", terminated(143), index=0)),
            pod("Failed", terminated(5, finished=LATER), index=1),
        ],
        State.FAILED, Reason.NONZERO_EXIT, 5, "exit code 5",
    ),
    "one failed by itself, and one that was drained before it is about to be gone": (
        job(("Failed", POLICY, "Pod p/gone has condition DisruptionTarget matching FailJob rule at index 0")),
        [
            deleted(pod("Failed", terminated(143), index=0, conditions=[PREEMPTED])),
            pod("Failed", terminated(5, finished=LATER), index=1),
        ],
        State.FAILED, Reason.NONZERO_EXIT, 5, "exit code 5",
    ),
    "all were told to go, and the one that the Job names did not end first": (
        job(("Failed", POLICY, EXITED.replace("137", "3").replace("p/x", f"p/{pod()['metadata']['name']}"))),
        [
            deleted(pod("Failed", terminated(3, finished=LATER), index=0)),
            deleted(pod("Failed", terminated(143), index=1)),
        ],
        State.FAILED, Reason.NONZERO_EXIT, 3, "exit code 3",
    ),
    "time limit, and another had been well before its proxy was ended": (
        job("Failed"),
        [
            beside(terminated(0), terminated(137), "Failed", index=0, reason="DeadlineExceeded"),
            beside(terminated(143, finished=LATER), terminated(137), "Failed", index=1, reason="DeadlineExceeded"),
        ],
        State.FAILED, Reason.TIME_LIMIT, 143, "ended at its time limit of 1 min",
    ),
    "out of memory": (
        job("Failed"), [pod("Failed", terminated(137, "OOMKilled"))], State.FAILED, Reason.OOM_KILLED, 137,
        "out of memory, the limit was 300Mi",
    ),
    "no such command": (
        job("Failed"), [pod("Failed", terminated(128, "StartError", 'exec: "/no": no such file'))], State.FAILED,
        Reason.START_FAILED, None, 'exec: "/no": no such file',
    ),
    "time limit": (
        job("Failed"), [pod("Failed", terminated(137), reason="DeadlineExceeded", message="Pod was active ...")],
        State.FAILED, Reason.TIME_LIMIT, 137, "ended at its time limit of 1 min",
    ),
    "evicted by its node": (
        job(("Failed", POLICY, "")),
        [pod("Failed", terminated(137), reason="Evicted", message="The node was low on resource: memory.")],
        State.FAILED, Reason.NODE_FAIL, 137, "Evicted: The node was low on resource: memory.",
    ),
    "evicted by its node, which says so twice": (
        job(("Failed", POLICY, "")),
        [
            pod(
                "Failed",
                terminated(137),
                reason="Evicted",
                message="The node was low on resource: memory.",
                conditions=[PREEMPTED | {"reason": "TerminationByKubelet", "message": "..."}],
            )
        ],
        State.FAILED, Reason.NODE_FAIL, 137, "Evicted: The node was low on resource: memory.",
    ),
    "a disruption that has been called off": (
        job("Failed"), [pod("Failed", terminated(3), conditions=[PREEMPTED | {"status": "False"}])], State.FAILED,
        Reason.NONZERO_EXIT, 3, "exit code 3",
    ),
    "preempted, its pod still there": (
        job(("Failed", POLICY, "")), [pod("Failed", terminated(143), conditions=[PREEMPTED])], State.FAILED,
        Reason.NODE_FAIL, 143,
        "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod",
    ),
    "refused by its node": (
        job("Failed"), [pod("Failed", reason="OutOfcpu", message="Pod was rejected: not enough cpu")], State.FAILED,
        Reason.NODE_FAIL, None, "OutOfcpu: Pod was rejected: not enough cpu",
    ),
    "its node has lost sight of it": (
        job("Failed"), [pod("Failed", unseen())], State.FAILED, Reason.NODE_FAIL, None,
        "The container could not be located when the pod was terminated",
    ),
    "its pod was deleted before it had begun": (
        job("Failed"), [deleted(pod("Failed", unseen()))], State.FAILED, Reason.VANISHED, None,
        "its pod was deleted, and no end of its container was seen",
    ),
    "its pod was deleted while an init container of the site was being made": (
        job("Failed"),
        [
            deleted(
                pod(
                    "Failed",
                    waiting("PodInitializing"),
                    initContainerStatuses=[{"name": "mesh", "state": unseen()}],
                )
            )
        ],
        State.FAILED, Reason.VANISHED, None, "its pod was deleted, and no end of its container was seen",
    ),
    "drained before it had begun": (
        job(("Failed", POLICY, "")), [deleted(pod("Failed", unseen(), conditions=[PREEMPTED]))], State.FAILED,
        Reason.NODE_FAIL, None,
        "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod",
    ),
    "time limit, it had not begun": (
        job("Failed"), [pod("Failed", unseen(), reason="DeadlineExceeded", message="Pod was active ...")],
        State.FAILED, Reason.TIME_LIMIT, None, "ended at its time limit of 1 min",
    ),
    "its node was started anew, and its sidecar ended because of that": (
        job("Failed"),
        [pod("Failed", missed(), initContainerStatuses=[{"name": "mesh", "state": terminated(143, finished=LATER)}])],
        State.FAILED, Reason.NODE_FAIL, None, ANEW,
    ),
    "its pod was deleted before it had begun, with its sidecar": (
        job("Failed"),
        [deleted(pod("Failed", unseen(), initContainerStatuses=[{"name": "mesh", "state": terminated(143)}]))],
        State.FAILED, Reason.VANISHED, None, "its pod was deleted, and no end of its container was seen",
    ),
    "its pod was deleted while an init container of the site ran": (
        job("Failed"),
        [
            deleted(
                pod(
                    "Failed",
                    waiting("PodInitializing"),
                    initContainerStatuses=[{"name": "mesh", "state": terminated(143, finished=LATER)}],
                )
            )
        ],
        State.FAILED, Reason.VANISHED, None, "its pod was deleted, and no end of its container was seen",
    ),
    "its pod was deleted, and in the same second an init container of the site ended": (
        job("Failed"),
        [
            deleted(
                pod(
                    "Failed",
                    waiting("PodInitializing"),
                    initContainerStatuses=[{"name": "mesh", "state": terminated(143)}],
                )
            )
        ],
        State.FAILED, Reason.VANISHED, None, "its pod was deleted, and no end of its container was seen",
    ),
    "an init container of the site had failed before its pod was deleted": (
        job("Failed"),
        [
            deleted(
                pod(
                    "Failed",
                    waiting("PodInitializing"),
                    initContainerStatuses=[{"name": "mesh", "state": terminated(3, finished=STARTED)}],
                )
            )
        ],
        State.FAILED, Reason.START_FAILED, None,
        "an init container has failed, so the job's own was not started: mesh, exit code 3",
    ),
    "an init container of the site could not be started": (
        job("Failed"),
        [
            pod(
                "Failed",
                waiting("PodInitializing"),
                initContainerStatuses=[{"name": "mesh", "state": terminated(128, "StartError", "no such file")}],
            )
        ],
        State.FAILED, Reason.START_FAILED, None,
        "an init container has failed, so the job's own was not started: mesh, not started: no such file",
    ),
    "one was refused by its node, and the other ended because of it": (
        job(("Failed", "BackoffLimitExceeded", "")),
        [
            deleted(pod("Failed", terminated(143, finished=LATER), index=0)),
            pod("Failed", index=1, reason="OutOfcpu", message="no room", startTime=FINISHED),
        ],
        State.FAILED, Reason.NODE_FAIL, None, "OutOfcpu: no room",
    ),
    "one was lost sight of, and the other ended because of it": (
        job("Failed"),
        [
            deleted(pod("Failed", terminated(143, finished=LATER), index=0)),
            pod("Failed", unseen(), index=1, startTime=STARTED, conditions=[not_ready()]),
        ],
        State.FAILED, Reason.NODE_FAIL, None, "The container could not be located when the pod was terminated",
    ),
    "one was deleted before it had begun, and the other ended because of it": (
        job("Failed"),
        [
            deleted(pod("Failed", terminated(143, finished="2026-11-25T12:00:08Z"), index=0)),
            deleted(pod("Failed", unseen(), index=1)),
        ],
        State.FAILED, Reason.VANISHED, None, "its pod was deleted, and no end of its container was seen",
    ),
    "one has failed, and the other was deleted because of it before it had begun": (
        job("Failed"),
        [pod("Failed", terminated(3), index=0), deleted(pod("Failed", unseen(), index=1))],
        State.FAILED, Reason.NONZERO_EXIT, 3, "exit code 3",
    ),
    "its node was started anew": (
        job("Failed"), [pod("Failed", terminated(255, "Unknown"))], State.FAILED, Reason.NODE_FAIL, None, ANEW,
    ),
    "its node was started anew, and then its pod was deleted": (
        job("Failed"), [deleted(pod("Failed", terminated(255, "Unknown")))], State.FAILED, Reason.NODE_FAIL, None, ANEW,
    ),
    "its node was started anew before it began": (
        job("Failed"),
        [
            pod(
                "Failed",
                waiting("PodInitializing"),
                initContainerStatuses=[{"name": "mesh", "state": terminated(255, "Unknown")}],
            )
        ],
        State.FAILED, Reason.NODE_FAIL, None, ANEW,
    ),
    "evicted, it could not be started": (
        job("Failed"),
        [pod("Failed", terminated(128, "StartError", "no such file"), reason="Evicted", message="no disk")],
        State.FAILED, Reason.NODE_FAIL, None, "Evicted: no disk",
    ),
    "one was refused by its node, and another told to go": (
        job("Failed"),
        [
            deleted(pod("Failed", terminated(137), index=0)),
            pod("Failed", reason="OutOfcpu", message="not enough cpu", index=1),
        ],
        State.FAILED, Reason.NODE_FAIL, None, "OutOfcpu: not enough cpu",
    ),
    "one was drained before it had begun, and another told to go": (
        job("Failed"),
        [
            deleted(pod("Failed", terminated(137), index=0)),
            deleted(pod("Failed", unseen(), conditions=[PREEMPTED], index=1)),
        ],
        State.FAILED, Reason.NODE_FAIL, None,
        "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher priority pod",
    ),
    "one failed, and another was told to go before it had begun": (
        job("Failed"),
        [deleted(pod("Failed", unseen(), index=0)), pod("Failed", terminated(5), index=1)],
        State.FAILED, Reason.NONZERO_EXIT, 5, "exit code 5",
    ),
    "one was disrupted and is gone, and another told to go": (
        job(("Failed", POLICY, "Pod p/gone has condition DisruptionTarget matching FailJob rule at index 0")),
        [deleted(pod("Failed", terminated(137)))], State.FAILED, Reason.NODE_FAIL, None,
        "its pod was disrupted and is gone: preempted, evicted, or its node was lost or drained",
    ),
    "one was disrupted and is gone, and another has failed": (
        job(("Failed", POLICY, "Pod p/gone has condition DisruptionTarget matching FailJob rule at index 0")),
        [pod("Failed", terminated(5))], State.FAILED, Reason.NONZERO_EXIT, 5, "exit code 5",
    ),
    "deleted by hand, and it is still there": (
        job(("Failed", POLICY, EXITED.replace("p/x", f"p/{pod()['metadata']['name']}"))),
        [deleted(pod("Failed", terminated(137)))], State.FAILED, Reason.SIGNALLED, 137, "ended by signal 9 (SIGKILL)",
    ),
    "the Job's own deadline, its pod told to go": (
        job(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")),
        [deleted(pod("Failed", terminated(137)))], State.FAILED, Reason.TIME_LIMIT, None,
        "Job was active longer than specified deadline",
    ),
    "says nothing": (
        job("Failed"), [pod("Failed")], State.FAILED, Reason.NODE_FAIL, None,
        "its pod has failed and does not say why",
    ),
    "an init container of the site has failed": (
        job("Failed"),
        [pod("Failed", waiting("PodInitializing"), initContainerStatuses=[{"name": "mesh", "state": terminated(3)}])],
        State.FAILED, Reason.START_FAILED, None,
        "an init container has failed, so the job's own was not started: mesh, exit code 3",
    ),
    "exit code, its pod gone": (
        job(("Failed", POLICY, EXITED)),
        [], State.FAILED, Reason.SIGNALLED, 137,
        "ended by signal 9 (SIGKILL), or its pod was deleted before it had begun; its pod is gone",
    ),
    "not started, its pod gone": (
        job(("Failed", POLICY, EXITED.replace("137", "128"))),
        [], State.FAILED, Reason.NONZERO_EXIT, 128, "exit code 128, or it could not be started; its pod is gone",
    ),
    "node started anew, its pod gone": (
        job(("Failed", POLICY, EXITED.replace("137", "255"))),
        [], State.FAILED, Reason.NONZERO_EXIT, 255, "exit code 255, or its node has lost sight of it; its pod is gone",
    ),
    "another exit code, its pod gone": (
        job(("Failed", POLICY, EXITED.replace("137", "3"))),
        [], State.FAILED, Reason.NONZERO_EXIT, 3, "exit code 3; its pod is gone",
    ),
    "disrupted, its pod gone": (
        job(("Failed", POLICY, "Pod p/x has condition DisruptionTarget matching FailJob rule at index 0")), [],
        State.FAILED, Reason.NODE_FAIL, None,
        "its pod was disrupted and is gone: preempted, evicted, or its node was lost or drained",
    ),
    "the Job's own deadline": (
        job(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")), [], State.FAILED,
        Reason.TIME_LIMIT, None, "Job was active longer than specified deadline",
    ),
    "nothing is left": (
        job(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")), [], State.FAILED,
        Reason.VANISHED, None,
        "its pod is gone; all that is left of it: BackoffLimitExceeded: Job has reached the specified backoff limit",
    ),
    "cancelled while it ran": (
        job("Failed", annotations=CANCELLED), [pod("Failed", terminated(137), reason="DeadlineExceeded")],
        State.CANCELLED, Reason.CANCELLED, 137, "ended on request",
    ),
    "cancelled, and the pod of the worker that ended first is gone": (
        job(("Failed", POLICY, EXITED.replace("137", "143")), annotations=CANCELLED),
        [deleted(pod("Failed", terminated(9)))], State.CANCELLED, Reason.CANCELLED, 143, "ended on request",
    ),
    "cancelled before it began, its pod told to go": (
        job("Suspended", annotations=CANCELLED, parallelism=0), [deleted(pod("Failed", unseen()))], State.CANCELLED,
        Reason.CANCELLED, None, "ended on request",
    ),
    "cancelled, and it was faster": (
        job("Complete", annotations=CANCELLED), [pod("Succeeded", terminated(0))], State.CANCELLED, Reason.CANCELLED,
        None, "ended on request",
    ),
    "cancelled before it began": (
        job(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"), annotations=CANCELLED), [],
        State.CANCELLED, Reason.CANCELLED, None, "ended on request",
    ),
    "cancelled while somebody had suspended it": (
        job("Suspended", annotations=CANCELLED, parallelism=0, active=0), [], State.CANCELLED, Reason.CANCELLED, None,
        "ended on request",
    ),
    "no image, given up": (
        job(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"), annotations=PULL), [],
        State.FAILED, Reason.IMAGE_PULL, None, "ErrImagePull: no",
    ),
    "no image for one worker, given up, and the other was ended": (
        job("Failed", annotations=PULL), [pod("Failed", terminated(137), reason="DeadlineExceeded", index=1)],
        State.FAILED, Reason.IMAGE_PULL, None, "ErrImagePull: no",
    ),
    "a worker failed beside others, and its pod was the first to be gone": (
        job(("Failed", POLICY, EXITED), annotations=NINE),
        [pod("Failed", terminated(137), reason="DeadlineExceeded")], State.FAILED, Reason.NONZERO_EXIT, 9,
        "exit code 9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_job_that_has_not_ended(name: str) -> None:
    shown, pods, state, native, message = UNFINISHED[name]
    found = observed(observed_from(shown, pods))
    assert (found.state, found.native_state, found.message) == (state, native, message)
    assert (found.finished_at, found.exit_code, found.reason) == (None, None, None)
    assert found.started_at == (moment(STARTED) if state is State.RUNNING else None)


@pytest.mark.parametrize("name", ENDED)
def test_a_job_that_has_ended(name: str) -> None:
    shown, pods, state, reason, code, message = ENDED[name]
    found = observed(observed_from(shown, pods))
    assert (found.state, found.reason, found.exit_code, found.message) == (state, reason, code, message)
    assert found.finished_at is not None
    assert found.started_at is None or found.started_at <= found.finished_at
    assert found.native_state


def test_a_container_that_nobody_has_seen_has_begun_if_its_start_is_known() -> None:
    assert has_begun(pod("Failed", missed()))
    assert not has_begun(pod("Failed", unseen()))


def test_the_times_of_an_end_are_those_of_its_containers() -> None:
    found = observed(observed_from(job("Complete"), [pod("Succeeded", terminated(0))]))
    assert (found.started_at, found.finished_at) == (moment(STARTED), moment(FINISHED))
    assert observed(observed_from(job("Complete"), [])).finished_at == moment(LATER)


def test_who_it_is() -> None:
    found = observed(observed_from(job(), []))
    assert (found.jid, found.generation, found.digest) == (spec().jid, spec().generation, spec().request.digest)
    assert found.handle.data["uid"] == f"uid-{spec().generation}"


@pytest.mark.parametrize(
    "shown",
    [
        job(failed=1),
        job(succeeded=1),
        job(uncountedTerminatedPods={"failed": ["uid"]}),
    ],
)
def test_what_has_ended_and_is_not_told_yet_is_unknown(shown: Object) -> None:
    assert isinstance(observed_from(shown, []), Unknown)


def test_a_job_that_is_being_deleted_tells_nothing() -> None:
    shown = job("Complete")
    shown["metadata"]["deletionTimestamp"] = LATER
    assert isinstance(observed_from(shown, [pod("Succeeded", terminated(0))]), Unknown)


def test_what_is_not_ours_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="not a Job of pman"):
        observed_from({"metadata": {"name": "x"}}, [])


def test_conditions_that_are_not_true_are_none() -> None:
    shown = job("Failed")
    shown["status"]["conditions"][0]["status"] = "False"
    assert observed(observed_from(shown, [])).state is State.PENDING


@pytest.mark.parametrize("text", [None, "", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_times_that_are_none(text: str | None) -> None:
    assert moment(text) is None


# Containers that a site puts beside the job's own


@pytest.mark.parametrize("condition", [(), ("Failed",), ("Complete",)])
@pytest.mark.parametrize(("code", "state"), [(0, State.SUCCEEDED), (3, State.FAILED)])
def test_the_job_is_its_own_container(condition: tuple[str, ...], code: int, state: State) -> None:
    """A proxy that runs on, and one that fails."""
    for other, phase in ((running(), "Running"), (terminated(1), "Failed")):
        found = observed(observed_from(job(*condition, active=1), [beside(terminated(code), other, phase)]))
        assert (found.state, found.exit_code) == (state, code)
        assert found.finished_at == moment(FINISHED)


@pytest.mark.parametrize("code", [0, 143])
def test_a_verdict_is_the_end_although_the_container_ended_beside_others(code: int) -> None:
    """At SIGTERM it may end in any way before its proxy does."""
    ended = beside(terminated(code), terminated(137), "Failed")
    found = observed(observed_from(job("Failed", annotations=CANCELLED), [ended]))
    assert (found.state, found.reason, found.message) == (State.CANCELLED, Reason.CANCELLED, "ended on request")
    ending = observed(observed_from(job(annotations=CANCELLED, active=1), [beside(terminated(code), running())]))
    assert (ending.state, ending.message) == (State.RUNNING, "it is being ended")


@pytest.mark.parametrize(("code", "reason"), [(0, None), (3, Reason.NONZERO_EXIT)])
def test_an_end_beside_others_that_was_kept_is_told_whatever_is_left_of_the_pods(
    code: int, reason: Reason | None
) -> None:
    """The Job controller deletes the pod that is slower when both run into their time limit."""
    two = spec(number_of_workers=2)
    workers = [beside(terminated(code), running(), of=two), beside(terminated(0), running(), of=two, index=1)]
    assert is_end_to_be_kept(job(of=two), workers)
    assert not is_end_to_be_kept(job(of=two, annotations=CANCELLED), workers), "it has another end"
    assert not is_end_to_be_kept(job(of=two), workers[:1])
    assert not is_end_to_be_kept(job(), [beside(terminated(code), running())]), "its pod stays"
    seen = observed(observed_from(job(of=two), workers))
    kept = {
        KEPT_END: Verdict(seen.reason, seen.message, seen.finished_at or datetime.now(UTC), seen.exit_code).to_json()
    }
    assert not is_end_to_be_kept(job(of=two, annotations=kept), workers)
    late = beside(terminated(0), terminated(137), "Failed", of=two, index=1, reason="DeadlineExceeded")
    for condition, pods in (((), workers), (("Failed",), [late]), (("Failed",), [])):
        found = observed(observed_from(job(*condition, of=two, annotations=kept), pods))
        assert (found.state, found.exit_code, found.reason, found.message, found.finished_at) == (
            State.FAILED if code else State.SUCCEEDED, code, reason, seen.message, seen.finished_at,
        )  # fmt: skip


def test_of_several_workers_all_must_have_ended() -> None:
    two = spec(number_of_workers=2)
    done, runs = beside(terminated(0), running(), of=two), beside(running(), running(), of=two, index=1)
    assert observed(observed_from(job(of=two), [done])).state is State.RUNNING
    assert observed(observed_from(job(of=two), [done, runs])).state is State.RUNNING
    failed = beside(terminated(3), running(), of=two, index=1)
    found = observed(observed_from(job(of=two), [done, failed]))
    assert (found.state, found.exit_code) == (State.FAILED, 3)


def test_one_that_was_taken_down_has_not_ended_by_itself() -> None:
    late = beside(terminated(0), terminated(137), "Failed", reason="DeadlineExceeded")
    assert observed(observed_from(job("Failed"), [late])).reason is Reason.TIME_LIMIT
    evicted = beside(terminated(0), terminated(137), "Failed", reason="Evicted", startTime=STARTED)
    assert observed(observed_from(job("Failed"), [evicted])).reason is Reason.NODE_FAIL
    assert observed(observed_from(job(), [beside(running(), terminated(1))])).state is State.RUNNING


def test_a_worker_that_has_failed_while_its_proxy_goes_on_is_told_to_nobody_but_us() -> None:
    two = spec(number_of_workers=2)
    done, runs = beside(terminated(0), running(), of=two), beside(running(), running(), of=two, index=1)
    failed = beside(terminated(3), running(), of=two)
    assert unnoticed_failure([done, runs]) is None
    end = unnoticed_failure([failed, runs])
    assert end is not None
    assert (end.reason, end.exit_code) == (Reason.NONZERO_EXIT, 3)
    assert unnoticed_failure([beside(terminated(3), terminated(0), "Failed", of=two), runs]) is None, "its pod says so"
    assert unnoticed_failure([pod("Running", terminated(3)), runs]) is None, "its pod is about to say so"


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_kubelet_is_taking_down_has_not_failed_by_itself(workers: int) -> None:
    """It ends one container after the other, and says why when the last one has ended."""
    of = spec(number_of_workers=workers)
    others = [beside(running(), running(), of=of, index=index) for index in range(1, workers)]
    late = {"startTime": "2026-11-25T11:59:05Z"}  # its 60 s are over at 12:00:05
    drained = {"conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": FINISHED}]}
    for more in (late, drained):
        shown = [beside(terminated(137), running(), of=of, **more), *others]
        assert observed(observed_from(job(of=of), shown)).state is State.RUNNING
        assert unnoticed_failure(shown) is None
    for code in (0, 137):
        shown = [deleted(beside(terminated(code), running(), of=of)), *others]
        assert observed(observed_from(job(of=of), shown)).state is State.RUNNING
        assert unnoticed_failure(shown) is None


@pytest.mark.parametrize(
    "taken_down",
    [
        {"reason": "DeadlineExceeded", "startTime": "2026-11-25T11:59:30Z"},  # its 60 s are over at 12:00:30
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-11-25T12:00:06Z"}]},
    ],
)
@pytest.mark.parametrize(("code", "state"), [(0, State.SUCCEEDED), (3, State.FAILED)])
def test_one_that_has_ended_before_it_was_taken_down_has_ended_by_itself(
    taken_down: dict[str, Any], code: int, state: State
) -> None:
    """It was told to have ended while the proxy went on; whoever looks later must not tell another story."""
    shown = [beside(terminated(code), terminated(137), "Failed", **taken_down)]
    found = observed(observed_from(job("Failed"), shown))
    assert (found.state, found.exit_code) == (state, code)


def test_a_worker_that_was_well_is_not_said_to_have_failed_with_0_nor_another_with_a_code_made_up() -> None:
    two = spec(number_of_workers=2)
    shown = [beside(terminated(0), unseen(), "Failed", of=two)]
    found = observed(observed_from(job("Failed", of=two), shown))
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, None)
    assert found.message == "a container beside the job's own has failed: nobody has seen how"


def test_a_worker_that_was_well_is_not_said_to_have_failed_with_0() -> None:
    two = spec(number_of_workers=2)
    shown = [beside(terminated(0), terminated(1), "Failed", of=two)]
    found = observed(observed_from(job("Failed", of=two), shown))
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, None)
    assert found.message == "a container beside the job's own has failed: istio-proxy, exit code 1"


# Verdicts


def test_a_verdict_survives_its_annotation() -> None:
    for code in (None, 9):
        verdict = Verdict(Reason.IMAGE_PULL, 'no such "image" ü', datetime(2026, 11, 25, tzinfo=UTC), code)
        assert verdict_of({VERDICT: verdict.to_json()}) == verdict


def test_a_verdict_of_an_older_release_is_read() -> None:
    text = '{"reason": "IMAGE_PULL", "message": "no", "at": "2026-11-25T00:00:00+00:00"}'
    assert verdict_of({VERDICT: text}) == Verdict(Reason.IMAGE_PULL, "no", datetime(2026, 11, 25, tzinfo=UTC))


def test_a_verdict_has_an_end() -> None:
    text = Verdict(Reason.IMAGE_PULL, "日" * 10_000, datetime.now(UTC)).to_json()
    assert len(text.encode()) < 4096
    shown = verdict_of({VERDICT: text})
    assert shown is not None
    assert "日" * 600 in shown.message
    assert len(shown.message) <= MESSAGE_CHARS_MAX


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        '{"reason": "NO", "message": "", "at": "2026-11-25"}',
        "{}",
        '{"reason": "NONZERO_EXIT", "message": "", "at": "2026-11-25", "exit_code": "x"}',
    ],
)
def test_a_spoiled_verdict_is_none(text: str) -> None:
    assert verdict_of({VERDICT: text}) is None
    assert verdict_of(None) is None
    assert kept_end_of({KEPT_END: text}) is None


def test_no_verdict_is_that_all_was_well() -> None:
    well = Verdict(None, "", datetime(2026, 11, 25, tzinfo=UTC), 0)
    assert kept_end_of({KEPT_END: well.to_json()}) == well
    assert verdict_of({VERDICT: well.to_json()}) is None


def observed(sighting: Sighting) -> Observed:
    assert isinstance(sighting, Observed), sighting
    return sighting
