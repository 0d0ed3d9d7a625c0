"""How objects are deleted: pods with a grace, jobs with or without waiting for their pods.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

from datetime import UTC, datetime, timedelta

from tests.fakes.kube_api.storage import Json, Key, Storage, now

FOREGROUND = "foregroundDeletion"


def delete_pod(storage: Storage, key: Key, grace_s: int | None) -> Json | None:
    """Mark a pod, which its kubelet then ends; one without a node, or whose processes have ended, goes at once.

    ``grace_s`` is its own if it is ``None``; 0 takes the pod away without waiting for its process. A second call may
    only shorten the grace. Finalizers hold it in any case.
    """
    with storage.changed:
        pod = storage.get(key)
        if pod is None:
            return None
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
        if "nodeName" not in pod["spec"] or pod["status"]["phase"] in {"Succeeded", "Failed"}:
            grace = 0
        if "deletionTimestamp" in pod["metadata"] and grace >= pod["metadata"]["deletionGracePeriodSeconds"]:
            return pod
        if grace == 0 and not pod["metadata"].get("finalizers"):
            return storage.delete(key)
        at = (datetime.now(UTC) + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
        marks = {"deletionTimestamp": at, "deletionGracePeriodSeconds": grace}
        return storage.update(key, lambda found: found["metadata"].update(marks))


def delete_job(storage: Storage, key: Key, policy: str) -> Json | None:
    """Take a job away at once, and its pods later; with the policy ``Foreground`` it waits for them.

    Returns the job as it was, or as it waits. With ``Orphan`` its pods stay.
    """
    with storage.changed:
        job = storage.get(key)
        if job is None:
            return None
        if policy == "Foreground":
            marks = {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0, "finalizers": [FOREGROUND]}
            return storage.update(key, lambda found: found["metadata"].update(marks))
        if policy == "Orphan":
            for pod in storage.all("pods", key.namespace):
                if any(owner["uid"] == job["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences", ())):
                    storage.update(
                        Key("pods", key.namespace, pod["metadata"]["name"]),
                        lambda found: (
                            found["metadata"].pop("ownerReferences"),
                            found["metadata"].pop("finalizers", ()),
                        ),
                    )
        return storage.delete(key)
