"""What the API server refuses of a job itself: a small part of what a real one looks at, with its texts.

https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/apis/batch/validation/validation.go
"""

import re

from tests.fakes.kube_api.refusals import invalid
from tests.fakes.kube_api.storage import Json

DNS_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
ANNOTATION_BYTES_MAX = 256 * 1024
CHANGEABLE = {
    "jobs": {"suspend", "parallelism", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit"},
    "pods": {"activeDeadlineSeconds"},
}
NAME_RULES = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def check_job(job: Json) -> None:
    """Raise ``Refused`` (422) for what is wrong with a job that is created."""
    metadata, spec = job["metadata"], job["spec"]
    name = metadata["name"]
    if not DNS_NAME.fullmatch(name) or len(name) > 63:
        raise invalid("jobs", name, "metadata.name", f'Invalid value: "{name}": {NAME_RULES}')
    _check_metadata(name, metadata, "metadata")
    _check_metadata(name, spec["template"].get("metadata", {}), "spec.template.metadata")
    pod = spec["template"]["spec"]
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for number, container in enumerate(pod["containers"]):
        where = f"spec.template.spec.containers[{number}]"
        for place, mount in enumerate(container.get("volumeMounts", ())):
            if mount["name"] not in volumes:
                field = f"{where}.volumeMounts[{place}].name"
                raise invalid("jobs", name, field, f'Not found: "{mount["name"]}"', "FieldValueNotFound")
            if ".." in mount.get("subPath", "").split("/"):
                detail = f"Invalid value: \"{mount['subPath']}\": must not contain '..'"
                raise invalid("jobs", name, f"{where}.volumeMounts.subPath", detail)


def check_change(resource: str, before: Json, after: Json) -> None:
    """Raise ``Refused`` (422) if a field is changed that must stay."""
    _check_metadata(before["metadata"]["name"], after["metadata"], "metadata")
    for field in sorted(before["spec"].keys() | after["spec"].keys()):
        if before["spec"].get(field) != after["spec"].get(field) and field not in CHANGEABLE[resource]:
            detail = f"Invalid value: {after['spec'].get(field)}: field is immutable"
            raise invalid(resource, before["metadata"]["name"], f"spec.{field}", detail)


def _check_metadata(name: str, metadata: Json, where: str) -> None:
    for value in metadata.get("labels", {}).values():
        if not LABEL_VALUE.fullmatch(value):
            raise invalid("jobs", name, f"{where}.labels", f'Invalid value: "{value}": a valid label must be ...')
    annotations = metadata.get("annotations", {})
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATION_BYTES_MAX:
        detail = f"Too long: may not be more than {ANNOTATION_BYTES_MAX} bytes"
        raise invalid("jobs", name, f"{where}.annotations", detail, "FieldValueTooLong")
