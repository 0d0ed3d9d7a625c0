"""What is known of all Jobs and pods of an instance, from a listing and from the changes since. Pure."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

from backends._identity import Identity
from backends._kubernetes.errors import forms_of, strike
from backends._kubernetes.identity import JID, JOB_NAME, Object, identity_of, job_name, secrets_of
from backends._kubernetes.state import conditions_of, handle_of, has_ended, observed_from, observed_from_pods
from pman_core.backend import Absent, JobRef, Observed, Sighting, Unknown
from pman_core.states import State

log = logging.getLogger(__name__)


class Survey:
    """Jobs by generation, with their pods."""

    def __init__(self, jobs: Iterable[Object] = (), pods: Iterable[Object] = ()) -> None:
        self._jobs: dict[str, Object] = {}
        self._pods: dict[str, dict[str, Object]] = {}
        self._secrets: dict[str, tuple[str, ...]] = {}
        """Of the jobs that were told with a message; most are told again every moment."""
        for job in jobs:
            self.note("jobs", "ADDED", job)
        for pod in pods:
            self.note("pods", "ADDED", pod)

    def note(self, kind: str, change: str, item: Object) -> str:
        """Take in an object as it is now, or that it is gone. Returns its generation; empty if it is not pman's."""
        identity = identity_of(item)
        if identity is None or not is_original(kind, item, identity):
            return ""
        generation, name, item = identity.generation, str(item["metadata"]["name"]), slim(item)
        if kind == "jobs":
            self._jobs[generation] = item
            if change == "DELETED":
                del self._jobs[generation]
                self._secrets.pop(generation, None)
            return generation
        pods = self._pods.setdefault(generation, {})
        pods[name] = item
        if change == "DELETED":
            del pods[name]
            if not pods:
                del self._pods[generation]
        return generation

    def generations(self) -> Iterator[str]:
        """Yield the generations of all Jobs."""
        yield from list(self._jobs)

    def job(self, generation: str) -> Object | None:
        return self._jobs.get(generation)

    def pods(self, generation: str) -> list[Object]:
        return list(self._pods.get(generation, {}).values())

    def sight(self, ref: JobRef) -> Sighting:
        """Return how a job is, by this listing."""
        job = self._jobs.get(ref.generation)
        pods = self.pods(ref.generation)
        identity = None if job is None else identity_of(job)
        if job is None or identity is None:
            orphans = [pod for pod in pods if pod["metadata"]["annotations"].get(JID) == ref.jid]
            return _sighting(None, orphans) if orphans else Absent()
        return self._told(job, _sighting(job, pods)) if identity.jid == ref.jid else Absent()

    def forget(self, generation: str) -> None:
        """Drop a job that need not be told of any more."""
        self._jobs.pop(generation, None)
        self._secrets.pop(generation, None)
        self._pods.pop(generation, None)

    def observed(self, generation: str) -> Observed | None:
        """Return how the Job of a generation is, if that is known."""
        job = self._jobs.get(generation)
        sighting = None if job is None else self._told(job, _sighting(job, self.pods(generation)))
        return sighting if isinstance(sighting, Observed) else None

    def _told(self, job: Object, sighting: Sighting) -> Sighting:
        """Strike the values of the job's variables out of what kubelets and controllers have written about it."""
        if not isinstance(sighting, Observed) or not sighting.message:
            return sighting
        if sighting.generation not in self._secrets:
            self._secrets[sighting.generation] = forms_of(secrets_of(job))
        return replace(sighting, message=strike(sighting.message, self._secrets[sighting.generation]))

    def as_owned(self, generation: str) -> Observed | None:
        """Return the job of a Job as a sweep is told of it; ``None`` if the Job is being deleted.

        One of which nothing can be told now is there all the same, or a repeated request would run it again: it counts
        as not ended, which concludes nothing.
        """
        job, observed = self._jobs.get(generation), self.observed(generation)
        identity = None if job is None else identity_of(job)
        if observed is not None or job is None or identity is None or job["metadata"].get("deletionTimestamp"):
            return observed
        return Observed(identity.jid, generation, identity.digest, State.PENDING, handle_of(job))

    def is_behind(self, generation: str) -> bool:
        """Whether a Job tells an end whose pods have not all been heard of: its watch was faster than theirs."""
        job = self._jobs.get(generation)
        if job is None or not conditions_of(job).keys() & {"Complete", "Failed"}:
            return False
        status = job.get("status") or {}
        ended = [pod for pod in self.pods(generation) if has_ended(pod)]
        return len(ended) < max(1, (status.get("succeeded") or 0) + (status.get("failed") or 0))

    def is_newer_than(self, generation: str, versions: tuple[int, int]) -> bool:
        """Whether the Job, or a pod of it, has changed since these resource versions of Jobs and pods."""
        job = self._jobs.get(generation)
        if job is None:
            return False
        return version_of(job) > versions[0] or any(version_of(pod) > versions[1] for pod in self.pods(generation))


def is_original(kind: str, item: Object, identity: Identity) -> bool:
    """Whether it is the Job itself or a pod of it, not a copy that somebody has made under another name."""
    made_by = item["metadata"]["name"] if kind == "jobs" else item["metadata"]["labels"].get(JOB_NAME)
    return made_by is None or made_by == job_name(identity.jid, identity.generation)


def slim(item: Object) -> Object:
    """Return what is looked at of a Job or a pod: a tenth of it, and there are thousands."""
    metadata, spec = dict(item["metadata"]), item.get("spec") or {}
    for name in ("managedFields", "ownerReferences"):
        metadata.pop(name, None)
    kept = {name: spec[name] for name in ("parallelism", "nodeName", "activeDeadlineSeconds") if name in spec}
    if "containers" in spec:
        kept["containers"] = [
            {name: container[name] for name in ("name", "resources") if name in container}
            for container in spec["containers"]
        ]
    return {"metadata": metadata, "spec": kept, "status": item.get("status") or {}}


def version_of(item: Object) -> int:
    """Return a resource version as the number that it is.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    return int(item["metadata"]["resourceVersion"])


def _sighting(job: Object | None, pods: list[Object]) -> Sighting:
    """One that cannot be read, whosever fault it is, must not hide all the others."""
    try:
        return observed_from_pods(pods) if job is None else observed_from(job, pods)
    except Exception as error:
        log.exception("the Job or the pods cannot be read: %s", (job or pods[0])["metadata"]["name"])
        return Unknown(f"{type(error).__name__}: {error}")
