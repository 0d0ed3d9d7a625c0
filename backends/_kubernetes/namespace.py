"""All calls that pman makes of a cluster: one namespace, and in it the objects of one instance."""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from backends._kubernetes.connection import MERGE_PATCH, Api
from backends._kubernetes.errors import Doing, Forbidden, NotThere
from backends._kubernetes.follower import Follower, Judge, Remember, to_cursor
from backends._kubernetes.identity import KEPT_END, VERDICT, Object, job_name, secrets_of, selector
from backends._kubernetes.job import Body
from backends._kubernetes.logs import Worker, log_of, logs_of, workers_of
from backends._kubernetes.lost_nodes import TRACKED, is_tracked
from backends._kubernetes.rights import PATH as RIGHTS_PATH
from backends._kubernetes.rights import explain_missing, missing
from backends._kubernetes.survey import Survey
from backends._kubernetes.verdict import Verdict
from pman_core.backend import JobRef
from pman_core.errors import Unavailable

log = logging.getLogger(__name__)


class Namespace:
    """See the text of the module. Every method may raise ``Unavailable`` and ``Unparseable``."""

    def __init__(self, api: Api, name: str, instance: str, timeout_s: float) -> None:
        self._api = api
        self.name = name
        self._instance = instance
        self._timeout_s = timeout_s
        self._is_there = False
        self._jobs = f"/apis/batch/v1/namespaces/{name}/jobs"
        self._pods = f"/api/v1/namespaces/{name}/pods"
        self._events = f"/api/v1/namespaces/{name}/events"

    def close(self) -> None:
        self._api.close()

    # Submit

    def create(self, job: Body, secrets: Iterable[str]) -> Object:
        """Create a Job.

        Raises:
            NameTaken, Rejected: see :mod:`backends._kubernetes.errors`.
        """
        return self._api.call("POST", self._jobs, doing=Doing.CREATE, body=job, secrets=secrets)

    def check(self, job: Body) -> None:
        """Have the server look at a Job and not create it; a field that it does not know is a fault.

        Raises:
            Rejected: it would not be created.
        """
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        self._api.call("POST", self._jobs, doing=Doing.CREATE, body=job, query=query)

    def job(self, jid: str, generation: str) -> Object:
        """Return one Job.

        Raises:
            NotThere: there is none.
        """
        return self._api.call("GET", f"{self._jobs}/{job_name(jid, generation)}")

    # Observe

    def survey(self, generation: str = "") -> Survey:
        """List our Jobs and then our pods, all of them or those of ``generation``; see :mod:`backends.kubernetes`."""
        wanted = selector(self._instance, generation)
        survey = Survey()
        for kind, path in (("jobs", self._jobs), ("pods", self._pods)):
            for page in self._api.pages(path, wanted):
                for item in page["items"]:
                    survey.note(kind, "ADDED", item)
                    self._is_there = True
        self.make_sure_it_is_there()
        return survey

    def make_sure_it_is_there(self) -> None:
        """Do not take a namespace that is not there for an empty one: it lists as that, and all jobs would be lost.

        Asked until it is known once, because with a namespace that goes later its Jobs go, too. Who may not ask is
        believed: a Role that lets us list is an object of this very namespace.

        Raises:
            Unavailable: it is not there.
        """
        if self._is_there:
            return
        try:
            self._api.call("GET", f"/api/v1/namespaces/{self.name}")
        except NotThere as error:
            raise Unavailable(f"JOB_NAMESPACE: {error}") from error
        except Forbidden as error:
            log.info("the namespace is taken to be there: %s", error)
        self._is_there = True

    def workers(self, ref: JobRef) -> tuple[Worker, ...]:
        """List the pods of one job."""
        wanted = selector(self._instance, ref.generation, ref.jid)
        return workers_of(pod for page in self._api.pages(self._pods, wanted) for pod in page["items"])

    def events_of(self, uid: str) -> list[Object]:
        """List the events of one object."""
        query = {"fieldSelector": f"involvedObject.uid={uid}"}
        items: list[Object] = self._api.listed("GET", self._events, query=query)["items"]
        return items

    def logs(self, workers: Iterable[Worker], tail_lines: int, max_bytes: int, kept: Mapping[Worker, str]) -> str:
        """Return the end of the logs of ``workers``, and what was ``kept`` of those that are gone."""
        return logs_of(self._api, self._pods, workers, tail_lines, max_bytes, timeout_s=self._timeout_s, kept=kept)

    def log(self, worker: Worker, tail_lines: int, max_bytes: int, timeout_s: float) -> str:
        """Return the end of the log of one worker."""
        return log_of(self._api, self._pods, worker, tail_lines, max_bytes, timeout_s=timeout_s)

    def cursor(self) -> str:
        """Return the present resource versions of Jobs and pods."""
        query = {"labelSelector": selector(self._instance), "limit": "1"}
        jobs, pods = (self._api.listed("GET", path, query=query)["metadata"] for path in (self._jobs, self._pods))
        return to_cursor(jobs["resourceVersion"], pods["resourceVersion"])

    def follower(self, judge: Judge, remember: Remember) -> Follower:
        """Return a stream of all changes, not begun yet."""
        paths = {"jobs": self._jobs, "pods": self._pods}
        return Follower(self._api, selector(self._instance), paths, judge=judge, remember=remember, relist=self.survey)

    # End and remove

    def judge(self, job: Object, verdict: Verdict, *, stop: bool) -> None:
        """Write the verdict into a Job that is still as it was read; to stop it is part of the same change.

        https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup (the deadline, which
        begins anew when a Job that is suspended is resumed)

        Raises:
            OutOfDate: it has changed.
            NotThere: it is gone.
        """
        self._write(job, {VERDICT: verdict.to_json()}, {"activeDeadlineSeconds": 1, "parallelism": 0} if stop else None)

    def keep_end(self, job: Object, end: Verdict) -> None:
        """Write into a Job that is still as it was read how the job has ended.

        Raises:
            OutOfDate: it has changed.
            NotThere: it is gone.
        """
        self._write(job, {KEPT_END: end.to_json()})

    def _write(self, job: Object, annotations: Mapping[str, str], spec: Body | None = None) -> None:
        metadata = job["metadata"]
        body: Body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": annotations}}
        if spec:
            body["spec"] = spec
        self._change(f"{self._jobs}/{metadata['name']}", body, secrets_of(job))

    def end_pod(self, pod: Object, secrets: Iterable[str]) -> None:
        """Have the kubelet end a pod, and keep it with its log: by its deadline, which may be brought forward.

        https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement
        """
        try:
            self._change(f"{self._pods}/{pod['metadata']['name']}", {"spec": {"activeDeadlineSeconds": 1}}, secrets)
        except NotThere:
            return

    def forsake(self, pod: Object, secrets: Iterable[str] = ()) -> None:
        """Take a pod that nobody ends out of the cluster, as it was read; its Job must have no other to make for it.

        The kubelet ends what it still finds running of it, should it ever come back.
        https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced

        Raises:
            OutOfDate: it has changed: its node may be back.
        """
        metadata = pod["metadata"]
        if is_tracked(pod):
            kept = [name for name in metadata["finalizers"] if name != TRACKED]
            change: Body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": kept}}
            try:
                self._change(f"{self._pods}/{metadata['name']}", change, secrets)
            except NotThere:
                return
        query = {"labelSelector": selector(self._instance), "fieldSelector": f"metadata.name={metadata['name']}"}
        body: Body = {"gracePeriodSeconds": 0}
        self._api.call("DELETE", self._pods, doing=Doing.CHANGE, query=query, body=body, secrets=secrets)

    def _change(self, path: str, body: Body, secrets: Iterable[str]) -> None:
        """``secrets`` are the values of the job's variables: a webhook that refuses may quote what it has seen."""
        self._api.call("PATCH", path, doing=Doing.CHANGE, body=body, content_type=MERGE_PATCH, secrets=secrets)

    def delete_job(self, jid: str, generation: str) -> bool:
        """Delete a Job, and let Kubernetes delete its pods.

        Returns:
            Whether it is gone at once. If not, it has finalizers of somebody, and is only being deleted.

        Raises:
            NotThere: there was none.
        """
        path = f"{self._jobs}/{job_name(jid, generation)}"
        body = {"propagationPolicy": "Background"}
        return bool(self._api.call("DELETE", path, doing=Doing.CHANGE, body=body)["kind"] == "Status")

    def delete_pods(self, jid: str, generation: str, grace_s: int) -> list[Object]:
        """Delete the pods of a job, and return what they were just before."""
        query = {"labelSelector": selector(self._instance, generation, jid)}
        body = {"gracePeriodSeconds": grace_s}
        deleted = self._api.listed("DELETE", self._pods, doing=Doing.CHANGE, query=query, body=body)
        items: list[Object] = deleted["items"]
        return items

    # The cluster

    def now(self) -> datetime | None:
        """Return the time by the API server's clock, as far as it has told it."""
        return self._api.now()

    def ping(self) -> None:
        """Ask for next to nothing."""
        self._api.call("GET", "/version")

    def has_on_a_node(self, resource: str) -> bool:
        """Whether a node has such an extended resource; who may not look leaves it to the scheduler."""
        try:
            nodes = [node for page in self._api.pages("/api/v1/nodes", "") for node in page["items"]]
        except Forbidden:
            return True
        return any(resource in (node["status"].get("allocatable") or {}) for node in nodes)

    def lacking(self) -> str:
        """Say which rights are missing, as rules that can be pasted; ``""`` if none is."""
        rights = missing(lambda body: self._api.call("POST", RIGHTS_PATH, doing=Doing.CHANGE, body=body), self.name)
        return explain_missing(rights, self.name) if rights else ""
