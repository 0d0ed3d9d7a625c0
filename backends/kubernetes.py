"""Runs each job as a Job of Kubernetes; its workers are the pods of the Job.

Kubernetes 1.29 and later: https://kubernetes.io/docs/concepts/workloads/controllers/job/

* A Job starts by itself and its creation is atomic: a job is never half submitted.
* Listings and watches, one of Jobs and one of pods, are shared by all jobs. A job itself costs four calls: create, log,
  delete the Job, delete its pods; two more if it is removed before its end. Those that do not start cost more, and so
  do several workers beside containers of the site.
* Jobs are listed before pods, never the other way round: then the pods are at least as new as the Jobs, so an end has
  its exit code; and what is Absent had no Job when the question began, and no pods after that. (A pod is only ever made
  for a Job that is there. One that lives without a Job is Unknown: its Job was made after the listing began, is being
  removed, or was deleted by hand.)
* To end a job and keep its object: see :mod:`backends._kubernetes.ending`.
* Nodes fetch images themselves. What does not start for want of an image, a volume or the like is ended by whoever
  observes it, after a grace: see :mod:`backends._kubernetes.watchdog`.
"""

import logging
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from backends._health import health_by
from backends._identity import Identity
from backends._kubernetes import overlay
from backends._kubernetes.connection import connect
from backends._kubernetes.ending import end_job
from backends._kubernetes.errors import NameTaken, NotThere
from backends._kubernetes.identity import WORKERS, Object, identity_of, label_faults, spec_of
from backends._kubernetes.job import Body, build_job, user_of
from backends._kubernetes.last_words import LastWords
from backends._kubernetes.logs import Worker, workers_of
from backends._kubernetes.namespace import Namespace
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.state import HANDLE_VERSION, handle_of, has_ended
from backends._kubernetes.storage import Storage, Volumes, storage_of
from backends._kubernetes.survey import Survey
from backends._kubernetes.verdict import Verdict
from backends._kubernetes.watchdog import Watchdog
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
from pman_core.errors import Conflict, Fault, Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings
from pman_core.states import Reason

log = logging.getLogger(__name__)

NO_CHECK = re.compile(r"\bdenied (the )?request\b|\bdoes not support dry run\b")
"""The words of webhooks and policies that may dislike the image of the sample, which is not the overlay's, and of a
server whose webhooks cannot be asked without something being made:
https://github.com/kubernetes/apiserver/blob/v0.35.0/pkg/admission/plugin/webhook/errors/statuserror.go"""
LAST_WORDS_BYTES = 64 * 1024
"""So much is kept of a job whose workers are about to be deleted: all that a record takes."""
LOOKS_MAX = 20_000
"""So many jobs that were looked at one by one are remembered: a worker never lists them all, which clears up."""
RIGHTS_EVERY_S = 300.0


class KubernetesBackend(Backend):
    """See the text of the module."""

    name = "kubernetes"
    Settings = KubernetesSettings
    submit_timeout_s = 40.0
    own: KubernetesSettings

    def __init__(self, common: CommonSettings, own: KubernetesSettings) -> None:
        super().__init__(common, own)
        self._namespace: Namespace | None = None
        self._storage: Storage | None = None
        self._overlay: Body = {}
        self._watchdog = Watchdog(own)
        self._last_words = LastWords()
        self._workers: dict[str, tuple[Worker, ...]] = {}
        self.removed_s = 1.5
        """So long a Job that was deleted before its end may yet get a pod: its controller may not have heard of it."""
        self._removed_at_s: dict[str, float] = {}
        self._rights_asked_s = -math.inf
        self.capabilities = self._capabilities(has_gpus=own.gpus == "yes")

    def open(self) -> None:
        faults = [
            *label_faults("JOB_LABELS", self.common.job_labels),
            *label_faults("NODE_SELECTOR", self.common.node_selector),
        ]
        if self.own.kube_ttl_hours is not None and self.own.kube_ttl_hours * 3600 < self.common.submit_fence_s:
            faults.append(Fault("KUBE_TTL_HOURS", "must not be shorter than SUBMIT_FENCE_S"))
        if faults:
            raise Rejected("; ".join(map(str, faults)))
        if self.own.kube_pod_overlay is not None:
            self._overlay = overlay.read(self.own.kube_pod_overlay)
        storage_of(self.common)  # what is wrong with the settings is told even if nobody answers
        api = connect(self.own)
        namespace = Namespace(api, self.common.job_namespace, self.common.pman_instance, self.own.kube_timeout_s)
        try:
            self._storage = storage_of(self.common, is_in_cluster=api.is_in_cluster)
            namespace.ping()
            has_gpus = self.own.gpus == "yes"
            if self.own.gpus == "auto":
                has_gpus = namespace.has_on_a_node(self.own.kube_gpu_resource)
            if self._overlay:
                self._check_overlay(namespace)
        except BaseException:
            namespace.close()
            raise
        self.capabilities = self._capabilities(has_gpus=has_gpus)
        self._namespace = namespace

    def close(self) -> None:
        self._watchdog.close()
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            namespace.close()

    def _capabilities(self, *, has_gpus: bool) -> Capabilities:
        return Capabilities(number_of_workers_max=self.own.kube_workers_max, gpus=has_gpus, watches=True)

    @property
    def _cluster(self) -> Namespace:
        if self._namespace is None:
            raise Unavailable("the backend is not open")
        return self._namespace

    # Submit

    def submit(self, spec: JobSpec) -> Handle:
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        if self._storage is None:
            raise Unavailable("the backend is not open")
        uid, gid = user_of(spec, self.common)
        owner = None if uid is None else (uid, -1 if gid is None else gid)
        body = self._build(spec, self._storage.volumes(spec, owner))
        try:
            return handle_of(self._cluster.create(body, secrets=spec.env.values()))
        except NameTaken as error:
            return self._adopt(spec, str(error))

    def _build(self, spec: JobSpec, volumes: Volumes) -> Body:
        job = build_job(spec, self.common, self.own, volumes)
        job["spec"]["template"] = overlay.merged(job["spec"]["template"], self._overlay)
        return job

    def _check_overlay(self, namespace: Namespace) -> None:
        try:
            namespace.check(self._build(overlay.sample(self.common.pman_instance), Volumes()))
        except Rejected as error:
            if not NO_CHECK.search(str(error)):
                raise Rejected(f"KUBE_POD_OVERLAY: {error}") from error
            log.warning("KUBE_POD_OVERLAY cannot be checked with a job that is only shown: %s", error)
        except Unavailable as error:  # a full quota, say: who did not start for it would not make room, either
            log.warning("KUBE_POD_OVERLAY cannot be checked now: %s", error)

    def _adopt(self, spec: JobSpec, refusal: str) -> Handle:
        job = self._cluster.job(spec.jid, spec.generation)
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
            found |= {(ref.jid, ref.generation): self._sight(ref, survey) for ref in asked}
        return found

    def owned(self) -> Iterator[Owned]:
        survey = self._survey()
        for generation in survey.generations():
            observed, job = survey.as_owned(generation), survey.job(generation)
            if observed is not None and job is not None:
                yield Owned(observed, spec_of(job))

    def _survey(self, generation: str = "") -> Survey:
        survey = self._cluster.survey(generation)
        if not generation or len(self._workers) >= LOOKS_MAX:
            self._watchdog.forget_all_but(survey.generations())
            self._workers.clear()
        for known in survey.generations():
            self._remember(known, survey.pods(known))
        return survey

    def _remember(self, generation: str, pods: Sequence[Object]) -> None:
        """Keep where the logs of a job are: to look for them would be one more call for every job."""
        self._workers[generation] = workers = workers_of(pods)
        share = LAST_WORDS_BYTES // max(1, len(workers))
        self._last_words.hear(
            generation,
            pods,
            lambda worker, timeout_s: self._cluster.log(worker, self.common.job_logs_tail, share, timeout_s),
        )

    def _sight(self, ref: JobRef, survey: Survey) -> Sighting:
        sighting, job = survey.sight(ref), survey.job(ref.generation)
        if job is None or job["metadata"].get("deletionTimestamp"):
            self._watchdog.let_go(self._cluster, ref.generation, survey.pods(ref.generation))
            return sighting
        if not isinstance(sighting, Observed):
            return sighting
        return self._watchdog.look(self._cluster, sighting, job, survey.pods(ref.generation))

    # Logs

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable(f"the handle of {ref.jid} was written by a newer release")
        workers = self._workers.get(ref.generation) or self._cluster.workers(ref)
        return self._cluster.logs(workers, tail_lines, max_bytes, self._last_words.of(ref.generation))

    # End and remove

    def end(self, jid: str, generation: str) -> None:
        verdict = Verdict(Reason.CANCELLED, "ended on request", datetime.now(UTC))
        end_job(self._cluster, jid, generation, verdict, find_lost=partial(self._watchdog.lost, self._cluster))

    def remove(self, jid: str, generation: str) -> bool:
        # By its name alone, which only this job can have: to look first would be one more call for every job. The pods
        # first: they are told to end at once, and the answer shows them before Kubernetes takes them away with the Job.
        self._workers.pop(generation, None)
        pods = self._cluster.delete_pods(jid, generation, self.own.kube_end_grace_s)
        are_gone = all(has_ended(pod) and not pod["metadata"].get("finalizers") for pod in pods)
        try:
            is_gone = self._cluster.delete_job(jid, generation)
        except NotThere:
            self._cluster.make_sure_it_is_there()
            return are_gone and not self._was_just_removed(generation)
        wanted = {(pod["metadata"].get("annotations") or {}).get(WORKERS) for pod in pods}
        if is_gone and are_gone and wanted == {str(len(pods))}:
            return True  # it had all the pods that it was ever to have
        self._removed_at_s[generation] = time.monotonic()
        return False

    def _was_just_removed(self, generation: str) -> bool:
        now_s = time.monotonic()
        for known, at_s in list(self._removed_at_s.items()):
            if now_s - at_s > self.removed_s:
                self._removed_at_s.pop(known, None)
        return generation in self._removed_at_s

    # Health and events

    def health(self) -> Health:
        return health_by(self._trouble)

    def _trouble(self) -> str:
        self._cluster.ping()
        self._cluster.make_sure_it_is_there()
        return self._lacking()

    def _lacking(self) -> str:
        """Say which rights are missing. As long as none is, that is asked seldom: it is a dozen calls."""
        now_s = time.monotonic()
        if now_s - self._rights_asked_s < RIGHTS_EVERY_S:
            return ""
        lacking = self._cluster.lacking()
        if not lacking:
            self._rights_asked_s = now_s
        return lacking

    def cursor(self) -> str:
        return self._cluster.cursor()

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        judge = partial(self._watchdog.look, self._cluster)
        yield from self._cluster.follower(judge, self._remember).follow(cursor, stop)
