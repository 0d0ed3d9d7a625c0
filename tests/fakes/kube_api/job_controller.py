"""The Job controller: makes the pods of jobs, counts how they end, and writes the job's conditions, one step at a time.

The steps and their order are those of ``tests/recorded/kubernetes/lives.json``: pods that have ended are first noted in
``uncountedTerminatedPods`` together with a hint of the end (SuccessCriteriaMet, FailureTarget), then their finalizers
are taken away, then they are counted, and the end comes when no pod is left that might still run.
https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup
"""

import random
import string
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.kube_api.conditions import conditions_of, is_true, set_of_job
from tests.fakes.kube_api.defaults import pod_of_job
from tests.fakes.kube_api.deletion import delete_pod
from tests.fakes.kube_api.events import tell
from tests.fakes.kube_api.storage import Json, Key, Storage, now

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
ENDED = ("Succeeded", "Failed")


class JobController:
    """``step`` does the next thing for one job, and says whether there was any."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.pod_refusal = ""
        """Why pods cannot be made, as a quota or Pod Security would say it; empty: they can."""
        self.second_s = 1.0
        """So long a second of a job's deadline takes."""

    def step(self, key: Key) -> bool:
        before = self._storage.version
        job = self._storage.get(key)
        if job is None or is_finished(job):
            return False
        pods = pods_of(self._storage, job)
        if "deletionTimestamp" in job["metadata"]:
            self._collect(key, pods)
        elif any(job["status"].get("uncountedTerminatedPods", {}).values()):
            self._count(key, job, pods)
        elif not (self._note_ends(key, job, pods) or self._suspend(key, job, pods)):
            self._grow_and_write(key, job, pods)
        return self._storage.version != before

    # A job that is being deleted

    def _collect(self, key: Key, pods: list[Json]) -> None:
        """Delete what belongs to a job that waits in the foreground; it goes after them."""
        for pod in pods:
            release(self._storage, pod)
            if "deletionTimestamp" not in pod["metadata"]:
                delete_pod(self._storage, key_of(pod), None)
        left = pods_of(self._storage, {"metadata": {"uid": self._uid(key), "namespace": key.namespace}})
        if not left:
            self._storage.delete(key)
            return
        if terminating := sum(map(is_terminating, left)):
            status = {"ready": 0, "terminating": terminating}
            self._write(key, lambda found: (found.pop("active", None), found.update(status)))

    def _uid(self, key: Key) -> str:
        job = self._storage.get(key)
        return str(job["metadata"]["uid"]) if job else ""

    # Pods that have ended

    def _note_ends(self, key: Key, job: Json, pods: list[Json]) -> bool:
        tracked = [pod for pod in pods if FINALIZER in pod["metadata"].get("finalizers", ())]
        counts_deleted = job["spec"]["podReplacementPolicy"] == "TerminatingOrFailed"
        succeeded = [pod for pod in tracked if pod["status"]["phase"] == "Succeeded"]
        failed = [
            pod for pod in tracked if pod["status"]["phase"] == "Failed" or (counts_deleted and is_terminating(pod))
        ]
        why = self._failure(job, failed) if not is_ending(job) else None
        if not (succeeded or failed or why):
            return False
        if why:  # all that still run are ended, and count as failed from now on
            for pod in pods:
                if is_active(pod):
                    delete_pod(self._storage, key_of(pod), None)
                    failed.append(pod)
        uncounted = {
            name: [pod["metadata"]["uid"] for pod in found]
            for name, found in (("succeeded", succeeded), ("failed", failed))
            if found
        }
        completions = job["spec"]["completions"]
        is_complete = len(succeeded) + job["status"].get("succeeded", 0) >= completions

        def change(status: Json) -> None:
            self._set_numbers(status, pods_of(self._storage, job))
            status["uncountedTerminatedPods"] = uncounted
            if why:
                set_of_job(status, "FailureTarget", *why)
            elif is_complete and not is_ending(job):
                set_of_job(status, "SuccessCriteriaMet", *COMPLETED)

        self._write(key, change)
        return True

    def _failure(self, job: Json, failed: list[Json]) -> tuple[str, str] | None:
        spec = job["spec"]
        limit_s = spec.get("activeDeadlineSeconds")
        if (
            limit_s is not None
            and "startTime" in job["status"]
            and _age_s(job["status"]["startTime"]) >= limit_s * self.second_s
        ):
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        for pod in failed:
            if found := _policy_failure(spec.get("podFailurePolicy"), pod):
                return found
        if failed and len(failed) + job["status"].get("failed", 0) > spec["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        return None

    def _count(self, key: Key, job: Json, pods: list[Json]) -> None:
        uncounted = job["status"]["uncountedTerminatedPods"]
        noted = {uid for uids in uncounted.values() for uid in uids}
        for pod in pods:
            if pod["metadata"]["uid"] in noted:
                release(self._storage, pod)
        indexes = sorted(
            int(pod["metadata"]["annotations"][INDEX])
            for pod in pods
            if INDEX in pod["metadata"].get("annotations", {}) and pod["status"]["phase"] == "Succeeded"
        )

        def change(status: Json) -> None:
            for name, uids in uncounted.items():
                status[name] = status.get(name, 0) + len(uids)
            status["uncountedTerminatedPods"] = {}
            left = pods_of(self._storage, job)
            self._set_numbers(status, left)
            if indexes:
                status["completedIndexes"] = _ranges(indexes)
            if not any(map(may_run, left)):
                _end(status)

        self._write(key, change)

    # Suspension

    def _suspend(self, key: Key, job: Json, pods: list[Json]) -> bool:
        if not job["spec"]["suspend"] or is_ending(job):
            return False
        for pod in pods:
            if is_active(pod):
                release(self._storage, pod)
                delete_pod(self._storage, key_of(pod), None)

        def change(status: Json) -> None:
            self._set_numbers(status, pods_of(self._storage, job))
            status.setdefault("uncountedTerminatedPods", {})
            set_of_job(status, "Suspended", "JobSuspended", "Job suspended")

        self._write(key, change)
        return True

    # Pods to be made, and the numbers

    def _grow_and_write(self, key: Key, job: Json, pods: list[Json]) -> None:
        if is_ending(job):
            if job["status"].get("terminating"):
                self._write(key, lambda status: self._set_numbers(status, pods))
            elif not any(map(may_run, pods)):
                self._write(key, _end)
            return
        self._make_pods(key, job, pods)
        was_suspended = is_true(job, "Suspended")

        def change(status: Json) -> None:
            if "startTime" not in status or was_suspended:
                status |= {"startTime": now(), "uncountedTerminatedPods": {}}
            if was_suspended:
                set_of_job(status, "Suspended", "JobResumed", "Job resumed", is_so=False)
            self._set_numbers(status, pods_of(self._storage, job))

        self._write(key, change)

    def _make_pods(self, key: Key, job: Json, pods: list[Json]) -> None:
        spec, status = job["spec"], job["status"]
        waits = spec["podReplacementPolicy"] == "Failed"
        present = [pod for pod in pods if is_active(pod) or (waits and is_terminating(pod))]
        wanted = min(spec["parallelism"], spec["completions"] - status.get("succeeded", 0))
        taken = {
            pod["metadata"].get("annotations", {}).get(INDEX)
            for pod in pods
            if pod in present or pod["status"]["phase"] == "Succeeded"
        }
        free = [number for number in range(spec["completions"]) if str(number) not in taken]
        for number in free[: max(0, wanted - len(present))]:
            if self.pod_refusal:
                self._tell_refusal(job)
                return
            index = number if spec["completionMode"] == "Indexed" else None
            pod = pod_of_job(job, index, "".join(random.choices(string.ascii_lowercase, k=5)))
            self._storage.create(Key("pods", key.namespace, pod["metadata"]["name"]), pod)

    def _tell_refusal(self, job: Json) -> None:
        message = f'Error creating: pods "{job["metadata"]["name"]}-xxxxx" is forbidden: {self.pod_refusal}'
        tell(self._storage, job, "Warning", "FailedCreate", message)

    def _set_numbers(self, status: Json, pods: list[Json]) -> None:
        active = sum(map(is_active, pods))
        status.pop("active", None)
        if active:
            status["active"] = active
        status["ready"] = sum(is_active(pod) and is_true(pod, "Ready") for pod in pods)
        status["terminating"] = sum(map(is_terminating, pods))

    def _write(self, key: Key, change: Any) -> None:
        self._storage.update(key, lambda job: change(job["status"]))


COMPLETED = ("CompletionsReached", "Reached expected number of succeeded pods")


def key_of(found: Json) -> Key:
    resource = {"Pod": "pods", "Job": "jobs"}[found["kind"]]
    return Key(resource, found["metadata"]["namespace"], found["metadata"]["name"])


def pods_of(storage: Storage, job: Json) -> list[Json]:
    """Return the pods that a job owns."""
    uid = job["metadata"]["uid"]
    pods = storage.all("pods", job["metadata"]["namespace"])
    return [pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences", ()))]


def release(storage: Storage, pod: Json) -> None:
    """Take the controller's finalizer away."""

    def change(found: Json) -> None:
        finalizers = [name for name in found["metadata"].pop("finalizers", ()) if name != FINALIZER]
        if finalizers:
            found["metadata"]["finalizers"] = finalizers

    storage.update(key_of(pod), change)


def is_finished(job: Json) -> bool:
    return "deletionTimestamp" not in job["metadata"] and (is_true(job, "Complete") or is_true(job, "Failed"))


def is_ending(job: Json) -> bool:
    return is_true(job, "FailureTarget") or is_true(job, "SuccessCriteriaMet")


def has_ended(pod: Json) -> bool:
    return pod["status"]["phase"] in ENDED


def is_active(pod: Json) -> bool:
    return not has_ended(pod) and "deletionTimestamp" not in pod["metadata"]


def is_terminating(pod: Json) -> bool:
    return not has_ended(pod) and "deletionTimestamp" in pod["metadata"]


def may_run(pod: Json) -> bool:
    return not has_ended(pod)


def _end(status: Json) -> None:
    """Write the end that was hinted at, if any was."""
    for one in list(status.get("conditions", ())):
        if one["type"] == "SuccessCriteriaMet":
            status["completionTime"] = now()
            set_of_job(status, "Complete", one["reason"], one["message"])
        elif one["type"] == "FailureTarget":
            set_of_job(status, "Failed", one["reason"], one["message"])


def _policy_failure(policy: Json | None, pod: Json) -> tuple[str, str] | None:
    """Return what a ``podFailurePolicy`` with FailJob rules says of a pod."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for number, rule in enumerate((policy or {}).get("rules", ())):
        behind = f"matching FailJob rule at index {number}"
        for wanted in rule.get("onPodConditions", ()):
            if any(one["type"] == wanted["type"] and one["status"] == wanted["status"] for one in conditions_of(pod)):
                return "PodFailurePolicy", f"Pod {namespace}/{name} has condition {wanted['type']} {behind}"
        if codes := rule.get("onExitCodes"):
            for container in pod["status"].get("containerStatuses", ()):
                code = container["state"].get("terminated", {}).get("exitCode", 0)
                if code and (code in codes["values"]) is (codes["operator"] == "In"):
                    who = f"Container {container['name']} for pod {namespace}/{name}"
                    return "PodFailurePolicy", f"{who} failed with exit code {code} {behind}"
    return None


def _age_s(time: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)) / timedelta(seconds=1)


def _ranges(numbers: list[int]) -> str:
    """Return ``0-2,4`` for 0, 1, 2, 4."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
