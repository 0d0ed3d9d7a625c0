"""What the API server adds to a job that is created, and what the Job controller makes of its template.

Each default is one that the recorded replies show (``answers.json``: create, list of pods).
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/
"""

import copy

from tests.fakes.kube_api.storage import Json

CONTROLLER_UID, JOB_NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
TOLERATIONS = [
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for what in ("not-ready", "unreachable")
]


def job_as_stored(body: Json, uid: str) -> Json:
    """Return a job with everything that the API server adds to its specification."""
    job = copy.deepcopy(body)
    job["metadata"]["uid"] = uid
    spec = job["spec"]
    spec.setdefault("parallelism", 1)
    spec.setdefault("completions", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    spec["selector"] = {"matchLabels": {CONTROLLER_UID: uid}}
    template = spec["template"]
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    name = job["metadata"]["name"]
    labels |= {CONTROLLER_UID: uid, JOB_NAME: name, "controller-uid": uid, "job-name": name}
    _fill_pod(template["spec"])
    job["status"] = {}
    return job


def _fill_pod(spec: Json) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for volume in spec.get("volumes", ()):
        if "hostPath" in volume:
            volume["hostPath"].setdefault("type", "")
    for container in spec["containers"]:
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        container.setdefault("imagePullPolicy", "IfNotPresent" if tag not in {"", "latest"} else "Always")
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        resources = container["resources"]
        if "limits" in resources:
            resources["requests"] = resources["limits"] | resources.get("requests", {})


def pod_of_job(job: Json, index: int | None, suffix: str) -> Json:
    """Return a new pod of a job; ``index`` is its number if the job counts its pods."""
    template = copy.deepcopy(job["spec"]["template"])
    owner = job["metadata"]
    head = f"{owner['name']}-" if index is None else f"{owner['name']}-{index}-"
    metadata = template["metadata"] | {
        "name": head + suffix,
        "generateName": head,
        "finalizers": ["batch.kubernetes.io/job-tracking"],
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": owner["name"],
                "uid": owner["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    spec = template["spec"]
    if index is not None:
        metadata["annotations"] = metadata.get("annotations", {}) | {INDEX: str(index)}
        metadata["labels"] = metadata["labels"] | {INDEX: str(index)}
        spec["hostname"] = f"{owner['name']}-{index}"
        for container in spec["containers"]:
            where = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}
            number = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": where}}
            container.setdefault("env", []).append(number)
    spec |= {
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "enableServiceLinks": spec.get("enableServiceLinks", True),
        "tolerations": spec.get("tolerations", []) + copy.deepcopy(TOLERATIONS),
    }
    status = {"phase": "Pending", "qosClass": _quality(spec)}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}


def _quality(spec: Json) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""
    wishes = [container["resources"] for container in spec["containers"]]
    if not any(wishes):
        return "BestEffort"
    is_sure = all(
        {"cpu", "memory"} <= wish.get("limits", {}).keys() and wish.get("limits") == wish.get("requests")
        for wish in wishes
    )
    return "Guaranteed" if is_sure else "Burstable"
