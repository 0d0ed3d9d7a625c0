"""The body of ``POST /apis/batch/v1/namespaces/{namespace}/jobs``. Pure; whole bodies: ``tests/golden/kubernetes/``.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/

Why the argv cannot run twice, whatever Kubernetes does:

* ``backoffLimit: 0``, ``restartPolicy: Never``: a pod or container that failed is not replaced.
* ``podFailurePolicy`` says it once more: a pod that is disrupted (evicted, preempted, its node lost) or exits with
  anything but 0 fails the whole Job. Its condition then tells which of the two it was, and the exit code, even when the
  pod is gone: https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
* ``podReplacementPolicy: Failed``: as long as a pod that is being deleted lives, there is no other beside it.

The time limit is the pod's own ``activeDeadlineSeconds``: the kubelet ends it and the pod stays, with its log. (The
Job's would delete the pods.) It counts from the time at which the kubelet takes the pod, so with the pull of its image.
"""

import math
from typing import Any

from backends._kubernetes.identity import build_labels, job_annotations, job_name, pod_annotations
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.storage import Volumes
from backends._sizes import check_sizes
from backends._users import HOME_WORKAROUND, choose_user
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

Body = dict[str, Any]

CONTAINER = "plugin"
"""The name of the job's only container."""
PULL_POLICIES = {"always": "Always", "missing": "IfNotPresent", "never": "Never"}
SHM_VOLUME = "shm"


def build_job(spec: JobSpec, common: CommonSettings, own: KubernetesSettings, volumes: Volumes) -> Body:
    """Return the whole Job, but for the site's overlay: see :mod:`backends._kubernetes.overlay`.

    Raises:
        Rejected: an argument or a variable is too long for any exec, or the job for the annotations.
    """
    workers = spec.request.number_of_workers
    labels = build_labels(spec, common)
    body: Body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(spec.jid, spec.generation),
            "namespace": common.job_namespace,
            "labels": labels,
            "annotations": job_annotations(spec),
        },
        "spec": {
            "parallelism": workers,
            "completions": workers,
            "completionMode": "Indexed" if workers > 1 else "NonIndexed",
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [0]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": pod_annotations(spec)},
                "spec": build_pod_spec(spec, common, own, volumes),
            },
        },
    }
    if own.kube_ttl_hours is not None:
        body["spec"]["ttlSecondsAfterFinished"] = math.ceil(own.kube_ttl_hours * 3600)
    return body


def build_pod_spec(spec: JobSpec, common: CommonSettings, own: KubernetesSettings, volumes: Volumes) -> Body:
    """Return the specification of the job's pods."""
    pod: Body = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": own.kube_end_grace_s,
        "securityContext": build_pod_security(spec, common),
        "containers": [build_container(spec, common, own, volumes)],
        "volumes": [*volumes.volumes, *_shm(common)],
    }
    if (limit_s := common.time_limit_s(spec.request.time_limit_minutes)) is not None:
        pod["activeDeadlineSeconds"] = max(1, math.ceil(limit_s))
    if common.node_selector:
        pod["nodeSelector"] = dict(common.node_selector)
    if common.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in common.image_pull_secrets]
    return pod


def user_of(spec: JobSpec, common: CommonSettings) -> tuple[int | None, int | None]:
    """Return the uid and gid of a job; ``None`` leaves it to the image, or to OpenShift.

    SECURITYCONTEXT_RUN_AS_USER and _GROUP come before CONTAINER_USER.
    """
    uid, gid = choose_user(common.container_user, spec.generation) or (None, None)
    run_as, group = common.securitycontext_run_as_user, common.securitycontext_run_as_group
    return uid if run_as is None else run_as, gid if group is None else group


def build_pod_security(spec: JobSpec, common: CommonSettings) -> Body:
    """Return the pod's securityContext."""
    uid, gid = user_of(spec, common)
    context: Body = {"seccompProfile": {"type": "RuntimeDefault"}}
    if uid is not None:
        context |= {"runAsUser": uid} | ({"runAsNonRoot": True} if uid else {})
    if gid is not None:
        context["runAsGroup"] = gid
    return context


def build_container(spec: JobSpec, common: CommonSettings, own: KubernetesSettings, volumes: Volumes) -> Body:
    """Return the job's container."""
    home = {"HOME": HOME_WORKAROUND} if common.enable_home_workaround else {}
    env = home | spec.env
    check_sizes(spec.argv, env)
    shm = [{"name": SHM_VOLUME, "mountPath": "/dev/shm"}] if _shm(common) else []  # noqa: S108 - inside the container
    container: Body = {
        "name": CONTAINER,
        "image": spec.request.image,
        "imagePullPolicy": PULL_POLICIES[own.image_pull_policy],
        "command": [verbatim(text) for text in spec.argv],  # with one of its own, the image's CMD is not used either
        "env": [{"name": name, "value": verbatim(value)} for name, value in env.items()],
        "resources": build_resources(spec, common, own),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [*volumes.mounts, *shm],
    }
    return container


def build_resources(spec: JobSpec, common: CommonSettings, own: KubernetesSettings) -> Body:
    """Return the limits of each worker, and what is set aside for it."""
    request, ratio = spec.request, own.kube_request_ratio
    limits: Body = {}
    requests: Body = {}
    if not common.ignore_limits:
        limits = {"cpu": f"{request.cpu_millicores}m", "memory": f"{request.memory_mib}Mi"}
        requests = {
            "cpu": f"{math.ceil(request.cpu_millicores * ratio)}m",
            "memory": f"{math.ceil(request.memory_mib * ratio)}Mi",
        }
    if request.gpus:  # these are never overcommitted: requests follow the limits
        limits[own.kube_gpu_resource] = str(request.gpus)
    return {name: values for name, values in (("limits", limits), ("requests", requests)) if values}


def verbatim(text: str) -> str:
    """Return ``text`` so that it survives the kubelet, which replaces ``$(NAME)`` and reads ``$$`` as ``$``.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return text.replace("$", "$$")


def _shm(common: CommonSettings) -> list[Body]:
    """Return a volume in memory that is as large as SHM_SIZE. What is in it counts toward the memory limit."""
    if common.shm_size is None:
        return []
    return [{"name": SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": f"{common.shm_size}Mi"}}]
