"""Whose a Job or a pod is: labels to select by, annotations that tell the whole truth. Pure.

A label's value has at most 63 characters of ``[A-Za-z0-9._-]``, so the full jid and the spec are annotations:
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
All annotations of an object have at most 256 KiB together:
https://github.com/kubernetes/apimachinery/blob/v0.35.0/pkg/api/validation/objectmeta.go (TotalAnnotationSizeLimitB)
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from backends._identity import Identity, read_spec
from pman_core.errors import Fault, Rejected
from pman_core.job import JobSpec, native_name
from pman_core.settings import Settings as CommonSettings

PREFIX = "pman.chrisproject.org/"
JID = PREFIX + "jid"
GENERATION = PREFIX + "generation"
INSTANCE = PREFIX + "instance"
DIGEST = PREFIX + "digest"
SPEC = PREFIX + "spec"
WORKERS = PREFIX + "workers"
VERDICT = PREFIX + "verdict"
"""Why pman ended the job: see :mod:`backends._kubernetes.verdict`."""
KEPT_END = PREFIX + "ended"
"""How the job ended while its Job went on: see there, too."""

JOB_NAME = "batch.kubernetes.io/job-name"
"""The Job controller's own label of each pod."""

ECOSYSTEM = {"chrisproject.org/role": "plugininstance", "chrisproject.org/job-type": "plugin"}
"""What other tools of ChRIS look for, to find or to clean up plugin instances."""

ANNOTATION_BYTES_MAX = 256 * 1024
VERDICT_BYTES_MAX = 4 * 1024
NAME_CHARS_MAX = 57
"""Pods of several workers are named after the Job and their number, and 63 characters are a host name's limit."""
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
LABEL_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
CONTROLLERS = re.compile(r"batch\.kubernetes\.io/.*|job-name|controller-uid")
"""Labels that the Job controller gives to pods: with another value, the server refuses every Job."""

Object = Mapping[str, Any]


def job_name(jid: str, generation: str) -> str:
    """Return the name of a Job: like :func:`pman_core.job.native_name`, a little shorter for the numbers of workers."""
    head = native_name(jid, generation).removesuffix(f"-{generation}")
    return f"{head[: NAME_CHARS_MAX - len(generation) - 1].rstrip('-')}-{generation}"


def safe_label(jid: str) -> str:
    """Return the jid as a label's value: itself where it may be one, else its beginning and its hash."""
    if LABEL_VALUE.fullmatch(jid):
        return jid
    readable = re.sub(r"[^A-Za-z0-9]+", "-", jid)[:46].strip("-")
    return f"{readable}-{hashlib.sha256(jid.encode()).hexdigest()[:16]}".lstrip("-")


def build_labels(spec: JobSpec, common: CommonSettings) -> dict[str, str]:
    """Return the labels of a Job and of its pods; JOB_LABELS may replace the ecosystem's, never ours."""
    ours = {INSTANCE: spec.instance, GENERATION: spec.generation, JID: safe_label(spec.jid)}
    return ECOSYSTEM | dict(common.job_labels) | ours


def pod_annotations(spec: JobSpec) -> dict[str, str]:
    """Return what a pod tells of its job when the Job is gone."""
    return {
        JID: spec.jid,
        DIGEST: spec.request.digest,
        WORKERS: str(spec.request.number_of_workers),
    }


def job_annotations(spec: JobSpec) -> dict[str, str]:
    """Return what a Job tells, from which a lost record is rebuilt.

    Raises:
        Rejected: it is more than Kubernetes takes, or would leave no room for the verdict at its end.
    """
    annotations = pod_annotations(spec) | {SPEC: spec.to_json()}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in annotations.items())
    if size > ANNOTATION_BYTES_MAX - VERDICT_BYTES_MAX:
        raise Rejected(
            f"the job is too large for Kubernetes: its arguments and environment come to {size // 1024} KiB in"
            f" annotations, at most {(ANNOTATION_BYTES_MAX - VERDICT_BYTES_MAX) // 1024} KiB; put them into a file"
        )
    return annotations


def identity_of(item: Object) -> Identity | None:
    """Return whose the object is; ``None`` if it is not pman's."""
    metadata = item["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    values = (annotations.get(JID), labels.get(GENERATION), labels.get(INSTANCE), annotations.get(DIGEST))
    return Identity(*map(str, values)) if all(values) else None


def generation_of(item: Object) -> str:
    """Return the generation that an object's label tells, or ``""``."""
    return str((item["metadata"].get("labels") or {}).get(GENERATION, ""))


def spec_of(job: Object) -> JobSpec | None:
    """Return the spec that a Job carries; ``None`` if it cannot be read."""
    return read_spec(job["metadata"]["annotations"].get(SPEC, ""))


def secrets_of(job: Object) -> tuple[str, ...]:
    """Return the values of a job's variables, none of which may be in a message."""
    spec = spec_of(job)
    return () if spec is None else tuple(spec.env.values())


def selector(instance: str, generation: str = "", jid: str = "") -> str:
    """Return the label selector for the objects of an instance, of one generation, of one generation of one jid."""
    wanted = {INSTANCE: instance, GENERATION: generation, JID: safe_label(jid) if jid else ""}
    return ",".join(f"{name}={value}" for name, value in wanted.items() if value)


def label_faults(setting: str, pairs: Iterable[tuple[str, str]]) -> list[Fault]:
    """Return what Kubernetes would refuse of labels that a setting gives to every job."""
    return [
        Fault(setting, f"{name}={value} is no label of Kubernetes, or the Job controller's own")
        for name, value in pairs
        if not (LABEL_NAME.fullmatch(name) and LABEL_VALUE.fullmatch(value)) or CONTROLLERS.fullmatch(name)
    ]
