"""How a job is ended and its object kept: the verdict first, then whatever of it lives.

Pods that run are ended by their kubelet and stay, with their logs. As long as none runs the Job is stopped instead: it
has no more pods to make, and its time is over; so its controller deletes those that wait, and writes that it failed. A
real end, unlike a suspension: nobody resumes it, a queue like Kueue counts on it no more, and its TTL runs. (One that
somebody has suspended stays so, which is an end, too, once there is a verdict.) Each step may be repeated; who was
interrupted is followed by another.

A node that is lost ends nothing any more. Its pods are taken out of the cluster as the last step, when the Job
controller itself has said that it puts no others in their place: else the argv would run again.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from backends._kubernetes.errors import NotThere, OutOfDate
from backends._kubernetes.identity import Object, secrets_of
from backends._kubernetes.lost_nodes import makes_no_more_pods
from backends._kubernetes.state import has_begun, has_ended, is_end_to_be_kept
from backends._kubernetes.survey import Survey
from backends._kubernetes.verdict import Verdict, verdict_of
from pman_core.backend import JobRef, Observed
from pman_core.errors import Unavailable
from pman_core.states import TERMINAL

CHANGES_MAX = 10
"""So often it is tried again if the Job has changed since it was read."""


class Cluster(Protocol):
    """What is asked of a :class:`backends._kubernetes.namespace.Namespace`."""

    def survey(self, generation: str) -> Survey: ...
    def judge(self, job: Object, verdict: Verdict, *, stop: bool) -> None: ...
    def keep_end(self, job: Object, end: Verdict) -> None: ...
    def end_pod(self, pod: Object, secrets: Iterable[str]) -> None: ...
    def forsake(self, pod: Object, secrets: Iterable[str]) -> None: ...


FindLost = Callable[[Sequence[Object]], Sequence[Object]]
"""Returns those of a job's pods that are on nodes that are lost."""


def none_lost(_pods: Sequence[Object]) -> Sequence[Object]:
    """Where nodes are not asked about."""
    return ()


def always(_job: Object, _pods: Sequence[Object]) -> bool:
    """Whether a job that was asked to end is due: whatever it does by now."""
    return True


def end_job(
    cluster: Cluster,
    jid: str,
    generation: str,
    verdict: Verdict,
    *,
    is_due: Callable[[Object, Sequence[Object]], bool] = always,
    find_lost: FindLost = none_lost,
) -> None:
    """End a job, unless it has ended; one that has a verdict keeps it. One that ends by itself as soon as what is lost
    is gone needs none.

    ``is_due`` is asked of the Job and its pods as they are now: whoever decides by what a watch has told may be late.

    Raises:
        Unavailable: not now.
    """
    for _ in range(CHANGES_MAX):
        survey = cluster.survey(generation)
        sighting, job = survey.sight(JobRef(jid, generation)), survey.job(generation)
        if job is None or not isinstance(sighting, Observed) or sighting.state in TERMINAL:
            return
        pods = survey.pods(generation)
        if not is_due(job, pods):
            return
        lost, secrets = find_lost(pods), secrets_of(job)
        if lost and makes_no_more_pods(job):
            for pod in lost:
                cluster.forsake(pod, secrets)
            return
        alive = [pod for pod in pods if has_begun(pod) and not has_ended(pod) and pod not in lost]
        given, is_stopped = verdict_of(job["metadata"].get("annotations")), job["spec"].get("parallelism") == 0
        try:
            if given is None or not (alive or is_stopped):
                cluster.judge(job, given or verdict, stop=not alive)
        except OutOfDate:
            continue
        except NotThere:
            return
        for pod in alive:
            cluster.end_pod(pod, secrets)
        return
    raise Unavailable(f"the Job of {jid} changes all the time")


def keep_end(cluster: Cluster, jid: str, generation: str) -> None:
    """Write into a Job how the job has ended, where only its pods tell that, as long as all of them are there.

    Raises:
        Unavailable: not now.
    """
    for _ in range(CHANGES_MAX):
        survey = cluster.survey(generation)
        observed, job = survey.observed(generation), survey.job(generation)
        if job is None or observed is None or not is_end_to_be_kept(job, survey.pods(generation)):
            return
        at = observed.finished_at or datetime.now(UTC)
        try:
            cluster.keep_end(job, Verdict(observed.reason, observed.message, at, observed.exit_code))
        except OutOfDate:
            continue
        except NotThere:
            return
        return
    raise Unavailable(f"the Job of {jid} changes all the time")
