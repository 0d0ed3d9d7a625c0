"""The labels of a native object: from them a job is found, and its record rebuilt after Redis has lost it. Pure."""

from collections.abc import Mapping

from backends._identity import Identity, read_spec
from backends._time_limit import describe_time_limit
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

Labels = Mapping[str, str]

PREFIX = "org.chrisproject.pman."
JID = PREFIX + "jid"
GENERATION = PREFIX + "generation"
INSTANCE = PREFIX + "instance"
DIGEST = PREFIX + "digest"
IMAGE = PREFIX + "image"
SPEC = PREFIX + "spec"

ECOSYSTEM = {"org.chrisproject.miniChRIS": "plugininstance", "org.chrisproject.job_type": "plugin"}
"""What other tools of ChRIS look for, to find or to clean up plugin instances."""


def build_labels(spec: JobSpec, common: CommonSettings) -> dict[str, str]:
    """Return all labels of a job; JOB_LABELS may replace the ecosystem's, never ours."""
    ours = {
        JID: spec.jid,
        GENERATION: spec.generation,
        INSTANCE: spec.instance,
        DIGEST: spec.request.digest,
        IMAGE: spec.request.image,
        SPEC: spec.to_json(),
    }
    return ECOSYSTEM | dict(common.job_labels) | ours


def identity_of(labels: Labels | None) -> Identity | None:
    """Return whose the object with these labels is; ``None`` if it is not pman's."""
    if labels is None:
        return None
    values = [labels.get(name, "") for name in (JID, GENERATION, INSTANCE, DIGEST)]
    return Identity(*values) if all(values) else None


def spec_of(labels: Labels) -> JobSpec | None:
    """Return the spec that the object carries; ``None`` if it cannot be read."""
    return read_spec(labels.get(SPEC, ""))


def overdue_message(labels: Labels, common: CommonSettings) -> str:
    """Return what is said of the object's job when it is ended at its time limit."""
    spec = spec_of(labels)
    return describe_time_limit(None if spec is None else common.time_limit_s(spec.request.time_limit_minutes))


def of_instance(instance: str, generation: str = "") -> dict[str, list[str]]:
    """Return the filter for the objects of an instance, or for the one of a generation."""
    wanted = [f"{INSTANCE}={instance}"]
    return {"label": [*wanted, f"{GENERATION}={generation}"] if generation else wanted}
