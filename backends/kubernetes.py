"""Runs each job as a Job of Kubernetes; its workers are the pods of the Job.

Kubernetes 1.29 and later: https://kubernetes.io/docs/concepts/workloads/controllers/job/

* A Job starts by itself and its creation is atomic: a job is never half submitted.
* Listings and watches, one of Jobs and one of pods, are shared by all jobs. A job itself costs four calls: create, log,
  delete the Job, delete its pods; two more if it is removed before its end. Those that do not start cost more.
* Jobs are listed before pods, never the other way round: then the pods are at least as new as the Jobs, so an end has
  its exit code; and what is Absent had no Job when the question began, and no pods after that. (A pod is only ever made
  for a Job that is there. One without a Job is Unknown: its Job was made after the listing began, or is being removed.)
* To end a job and keep its object, pman writes its verdict into the Job (see :mod:`backends._kubernetes.verdict`), and
  then either has the kubelet end the pods by their deadline, so that their logs stay; or, as long as no container has
  begun, suspends the Job, and its pods are deleted.
* Nodes fetch images themselves. What does not start for want of an image, a volume or the like is ended by whoever
  observes it, after a grace: Kubernetes itself would wait for ever.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from backends._kubernetes import overlay
from backends._kubernetes.connection import MERGE_PATCH, Api, connect
from backends._kubernetes.errors import Doing, Forbidden, NameTaken, NotThere, OutOfDate
from backends._kubernetes.follower import Follower, to_cursor
from backends._kubernetes.identity import (
    VERDICT,
    WORKERS,
    Identity,
    Object,
    identity_of,
    job_name,
    label_faults,
    selector,
    spec_of,
)
from backends._kubernetes.job import Body, build_job, user_of
from backends._kubernetes.logs import logs_of
from backends._kubernetes.patience import Patience
from backends._kubernetes.rights import PATH as RIGHTS_PATH
from backends._kubernetes.rights import explain_missing, missing
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.state import (
    ENDED_PHASES,
    HANDLE_VERSION,
    container_state,
    handle_of,
    phase_of,
)
from backends._kubernetes.storage import Storage, storage_of
from backends._kubernetes.survey import Survey
from backends._kubernetes.trouble import Trouble
from backends._kubernetes.verdict import Verdict, verdict_of
from pman_core.backend import (
    Backend,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
    WatchEvent,
)
from pman_core.errors import BackendError, Conflict, Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings
from pman_core.states import TERMINAL, Reason

log = logging.getLogger(__name__)

CHANGES_MAX = 10
"""So often a change is tried again if the Job has changed since it was read."""
REMOVED_S = 1.5
"""So long a Job that was deleted before its end may yet get a pod: its controller may not have heard of it."""
RIGHTS_EVERY_S = 300.0


class KubernetesBackend(Backend):
    """See the text of the module."""

    name = "kubernetes"
    Settings = KubernetesSettings
    submit_timeout_s = 45.0
    own: KubernetesSettings

    def __init__(self, common: CommonSettings, own: KubernetesSettings) -> None:
        super().__init__(common, own)
        self._connection: Api | None = None
        self._storage: Storage | None = None
        self._overlay: Body = {}
        self._patience = Patience(own.kube_start_grace_s)
        self._pods: dict[str, list[Object]] = {}
        self._removed_at_s: dict[str, float] = {}
        self._rights_asked_s = float("-inf")
        core, batch = (f"/{group}/namespaces/{common.job_namespace}" for group in ("api/v1", "apis/batch/v1"))
        self._jobs_path, self._pods_path, self._events_path = f"{batch}/jobs", f"{core}/pods", f"{core}/events"
        self.capabilities = self._capabilities(has_gpus=own.gpus == "yes")

    def open(self) -> None:
        faults = [
            *label_faults("JOB_LABELS", self.common.job_labels),
            *label_faults("NODE_SELECTOR", self.common.node_selector),
        ]
        if faults:
            raise Rejected("; ".join(map(str, faults)))
        if self.own.kube_pod_overlay is not None:
            self._overlay = overlay.read(self.own.kube_pod_overlay)
        self._storage = storage_of(self.common)
        api = connect(self.own)
        try:
            api.call("GET", "/version")
            self.capabilities = self._capabilities(has_gpus=self._has_gpus(api))
        except BaseException:
            api.close()
            raise
        self._connection = api

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _capabilities(self, *, has_gpus: bool) -> Capabilities:
        return Capabilities(number_of_workers_max=self.own.kube_workers_max, gpus=has_gpus, watches=True)

    def _has_gpus(self, api: Api) -> bool:
        if self.own.gpus != "auto":
            return self.own.gpus == "yes"
        try:
            nodes = [node for page in api.pages("/api/v1/nodes", "") for node in page["items"]]
        except Forbidden:
            return True  # who may not look lets the scheduler decide
        return any(self.own.kube_gpu_resource in (node["status"].get("allocatable") or {}) for node in nodes)

    @property
    def _api(self) -> Api:
        if self._connection is None:
            raise Unavailable("the backend is not open")
        return self._connection

    # Submit

    def submit(self, spec: JobSpec) -> Handle:
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        try:
            made = self._api.call(
                "POST", self._jobs_path, doing=Doing.CREATE, body=self._build(spec), secrets=spec.env.values()
            )
        except NameTaken as error:
            return self._adopt(spec, str(error))
        return handle_of(made)

    def _build(self, spec: JobSpec) -> Body:
        if self._storage is None:
            raise Unavailable("the backend is not open")
        uid, gid = user_of(spec, self.common)
        owner = None if uid is None else (uid, -1 if gid is None else gid)
        job = build_job(spec, self.common, self.own, self._storage.volumes(spec, owner))
        job["spec"]["template"] = overlay.merged(job["spec"]["template"], self._overlay)
        return job

    def _adopt(self, spec: JobSpec, refusal: str) -> Handle:
        job = self._api.call("GET", f"{self._jobs_path}/{job_name(spec.jid, spec.generation)}")
        if identity_of(job) != Identity(spec.jid, spec.generation, spec.instance, spec.request.digest):
            raise Conflict(f"the name is held by another Job: {refusal}")
        if job["metadata"].get("deletionTimestamp"):
            raise Unavailable("the Job of this name is being deleted")
        return handle_of(job)

    # Observe

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        found: dict[tuple[str, str], Sighting] = {}
        asked = []
        for ref in refs:
            if ref.is_newer_than(HANDLE_VERSION):
                found[ref.jid, ref.generation] = Unknown("the handle was written by a newer release")
            elif self._was_just_removed(ref.generation):
                found[ref.jid, ref.generation] = Unknown("it was removed a moment ago")
            else:
                asked.append(ref)
        if asked:
            survey = self._survey(asked[0].generation if len(asked) == 1 else "")
            found |= {(ref.jid, ref.generation): self._settled(ref, survey) for ref in asked}
        return found

    def owned(self) -> Iterator[Owned]:
        survey = self._survey()
        for generation in survey.generations():
            observed, job = survey.observed(generation), survey.job(generation)
            if observed is not None and job is not None:
                yield Owned(observed, spec_of(job))

    def _survey(self, generation: str = "") -> Survey:
        """List our Jobs and then our pods, all of them or those of ``generation``; see the text of the module."""
        wanted = selector(self.common.pman_instance, generation)
        jobs = [job for page in self._api.pages(self._jobs_path, wanted) for job in page["items"]]
        pods = [pod for page in self._api.pages(self._pods_path, wanted) for pod in page["items"]]
        survey = Survey(jobs, pods)
        if not generation:
            self._patience.forget_all_but(survey.generations())
            self._pods = {known: survey.pods(known) for known in survey.generations()}
        return survey

    def _settled(self, ref: JobRef, survey: Survey) -> Sighting:
        """Return how a job is; end one that has been in trouble for too long."""
        sighting, job = survey.sight(ref), survey.job(ref.generation)
        if not isinstance(sighting, Observed) or sighting.state in TERMINAL or job is None:
            return sighting
        return self._patiently(sighting, job, survey.pods(ref.generation))

    def _patiently(self, observed: Observed, job: Object, pods: Sequence[Object]) -> Sighting:
        if verdict_of(job["metadata"].get("annotations")) is not None:
            return observed
        trouble, is_too_long = self._patience.look(observed.generation, job, pods, self._events_of)
        if trouble is None:
            return observed
        if is_too_long:
            self._give_up(observed, trouble)
        if observed.started_at is not None:
            return observed
        return replace(observed, native_state=trouble.native, message=trouble.message)

    def _give_up(self, observed: Observed, trouble: Trouble) -> None:
        """End a job for its trouble. It is told when it is so: whoever looks next must tell the same.

        That it cannot be done now must not hide the other jobs; it is tried again.
        """
        try:
            self._end(observed.jid, observed.generation, Verdict(trouble.reason, trouble.message, datetime.now(UTC)))
        except BackendError as error:
            log.warning("not ended yet, for all its trouble: jid=%s %s: %s", observed.jid, trouble.message, error)

    def _events_of(self, uid: str) -> list[Object]:
        query = {"fieldSelector": f"involvedObject.uid={uid}"}
        try:
            items: list[Object] = self._api.call("GET", self._events_path, query=query)["items"]
        except Forbidden as error:
            log.warning("it cannot be told why a job does not start: %s", error)
            return []
        return items

    # Logs

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable(f"the handle of {ref.jid} was written by a newer release")
        pods = self._pods.get(ref.generation) or self._list_pods(ref)
        if not pods:
            return ""
        return logs_of(self._api, self._pods_path, pods, tail_lines, max_bytes, timeout_s=self.own.kube_timeout_s)

    def _list_pods(self, ref: JobRef) -> list[Object]:
        wanted = selector(self.common.pman_instance, ref.generation, ref.jid)
        return [pod for page in self._api.pages(self._pods_path, wanted) for pod in page["items"]]

    # End and remove

    def end(self, jid: str, generation: str) -> None:
        self._end(jid, generation, Verdict(Reason.CANCELLED, "ended on request", datetime.now(UTC)))

    def _end(self, jid: str, generation: str, verdict: Verdict) -> None:
        for _ in range(CHANGES_MAX):
            survey = self._survey(generation)
            sighting, job = survey.sight(JobRef(jid, generation)), survey.job(generation)
            if job is None or not isinstance(sighting, Observed) or sighting.state in TERMINAL:
                return
            pods = survey.pods(generation)
            begun = [pod for pod in pods if container_state(pod).keys() & {"running", "terminated"}]
            try:
                if verdict_of(job["metadata"].get("annotations")) is None:
                    self._judge(job, verdict, suspend=not begun)
            except OutOfDate:
                continue
            except NotThere:
                return
            for pod in begun:
                if phase_of(pod) not in ENDED_PHASES:
                    self._end_pod(str(pod["metadata"]["name"]))
            return
        raise Unavailable(f"the Job of {jid} changes all the time")

    def _judge(self, job: Object, verdict: Verdict, *, suspend: bool) -> None:
        """Write the verdict into a Job that is still as it was read; to suspend it is part of the same change."""
        metadata = job["metadata"]
        body: Body = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "annotations": {VERDICT: verdict.to_json()},
            }
        }
        if suspend:
            body["spec"] = {"suspend": True}
        self._change(f"{self._jobs_path}/{metadata['name']}", body)

    def _end_pod(self, name: str) -> None:
        """Have the kubelet end a pod, and keep it with its log: by its deadline, which may be brought forward.

        https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement
        """
        try:
            self._change(f"{self._pods_path}/{name}", {"spec": {"activeDeadlineSeconds": 1}})
        except NotThere:
            return

    def _change(self, path: str, body: Body) -> None:
        self._api.call("PATCH", path, doing=Doing.CHANGE, body=body, content_type=MERGE_PATCH)

    def remove(self, jid: str, generation: str) -> bool:
        # By its name alone, which only this job can have: to look first would be one more call for every job.
        path, options = f"{self._jobs_path}/{job_name(jid, generation)}", {"propagationPolicy": "Background"}
        try:
            deleted = self._api.call("DELETE", path, doing=Doing.CHANGE, body=options)
        except NotThere:
            deleted = None
        pods = self._delete_pods(jid, generation)
        is_gone = all(phase_of(pod) in ENDED_PHASES and not pod["metadata"].get("finalizers") for pod in pods)
        if deleted is None:
            return is_gone
        if deleted["kind"] != "Status":  # it has finalizers of somebody, and is only being deleted
            return False
        if is_gone and pods and len(pods) == int(pods[0]["metadata"]["annotations"][WORKERS]):
            return True
        self._removed_at_s[generation] = time.monotonic()
        return False

    def _delete_pods(self, jid: str, generation: str) -> list[Object]:
        """Delete the pods of a job, and return what they were just before."""
        query = {"labelSelector": selector(self.common.pman_instance, generation, jid)}
        options = {"gracePeriodSeconds": self.own.kube_end_grace_s}
        items: list[Object] = self._api.call("DELETE", self._pods_path, doing=Doing.CHANGE, query=query, body=options)[
            "items"
        ]
        return items

    def _was_just_removed(self, generation: str) -> bool:
        now_s = time.monotonic()
        for known, at_s in list(self._removed_at_s.items()):
            if now_s - at_s > REMOVED_S:
                self._removed_at_s.pop(known, None)
        return generation in self._removed_at_s

    # Health and events

    def health(self) -> Health:
        try:
            self._api.call("GET", "/version")
            lacking = self._lacking()
        except Unavailable as error:
            return Health(ok=False, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
            return Health(ok=False, message=f"{type(error).__name__}: {error}")
        return Health(ok=not lacking, message=lacking)

    def _lacking(self) -> str:
        """Say which rights are missing. All are asked for seldom, as long as none is."""
        now_s = time.monotonic()
        if now_s - self._rights_asked_s < RIGHTS_EVERY_S:
            return ""
        rights = missing(
            lambda body: self._api.call("POST", RIGHTS_PATH, doing=Doing.CHANGE, body=body), self.common.job_namespace
        )
        if rights:
            return explain_missing(rights, self.common.job_namespace)
        self._rights_asked_s = now_s
        return ""

    def cursor(self) -> str:
        wanted = {"labelSelector": selector(self.common.pman_instance), "limit": "1"}
        jobs, pods = (
            self._api.call("GET", path, query=wanted)["metadata"]["resourceVersion"]
            for path in (self._jobs_path, self._pods_path)
        )
        return to_cursor(jobs, pods)

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        follower = Follower(
            self._api,
            selector(self.common.pman_instance),
            {"jobs": self._jobs_path, "pods": self._pods_path},
            judge=self._patiently,
            remember=self._pods.__setitem__,
            relist=self._survey,
        )
        yield from follower.follow(cursor, stop)
