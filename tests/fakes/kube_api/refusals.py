"""The errors of an API server: a status code, and a body of kind Status that says the same.

The texts are those of ``tests/recorded/kubernetes/errors.json``; ``tests/unit/test_kube_api_fidelity.py`` compares.
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
RECORDED = Path(__file__).parents[2] / "recorded" / "kubernetes"
GROUPS = {"jobs": "batch", "selfsubjectaccessreviews": "authorization.k8s.io"}
KINDS = {"jobs": "Job", "pods": "Pod"}


class Refused(Exception):
    """The answer to a call that fails."""

    def __init__(self, code: int, body: Json | str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{code} {body if isinstance(body, str) else body['message']}")
        self.code, self.body, self.headers = code, body, headers or {}


def status(code: int, reason: str, message: str, details: Json | None = None) -> Refused:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return Refused(code, body | {"reason": reason} | ({} if details is None else {"details": details}) | {"code": code})


def recorded(name: str) -> Refused:
    """Return a refusal that a real API server has given."""
    found = _recorded()[name]
    return Refused(found["status"], found["body"], found["headers"])


@cache
def _recorded() -> Json:
    return dict(json.loads((RECORDED / "errors.json").read_text()))


def qualified(resource: str) -> str:
    group = GROUPS.get(resource)
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, name: str) -> Refused:
    details = _about(resource, name)
    return status(404, "NotFound", f'{qualified(resource)} "{name}" not found', details)


def already_exists(resource: str, name: str) -> Refused:
    return status(409, "AlreadyExists", f'{qualified(resource)} "{name}" already exists', _about(resource, name))


def modified(resource: str, name: str) -> Refused:
    """Somebody has written in between."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(resource)} "{name}": {why}'
    return status(409, "Conflict", message, _about(resource, name))


def precondition(resource: str, name: str, field: str, wanted: str, found: str) -> Refused:
    """It is another object of that name."""
    kind, group = KINDS[resource], GROUPS.get(resource)
    why = f"the {field} in the precondition ({wanted}) does not match the {field} in record ({found})"
    message = (
        f'Operation cannot be fulfilled on {f"{kind}.{group}" if group else kind} "{name}": {why}.'
        " The object might have been deleted and then recreated"
    )
    return status(409, "Conflict", message, _about(resource, name) | {"kind": kind})


def no_such_path() -> Refused:
    return status(404, "NotFound", "the server could not find the requested resource", {})


def too_large_version(wanted: str, current: int) -> Refused:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return status(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})


def expired(message: str) -> Refused:
    return status(410, "Expired", message)


def unauthorized() -> Refused:
    return status(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, resource: str, namespace: str, name: str) -> Refused:
    base = resource.partition("/")[0]
    quoted = f'"{name}" ' if name else ""
    message = (
        f'{qualified(base)} {quoted}is forbidden: User "{user}" cannot {verb} resource "{resource}"'
        f' in API group "{GROUPS.get(base, "")}" in the namespace "{namespace}"'
    )
    details = ({"name": name} if name else {}) | ({"group": GROUPS[base]} if base in GROUPS else {}) | {"kind": base}
    return status(403, "Forbidden", message, details)


def invalid(resource: str, name: str, field: str, detail: str, reason: str = "FieldValueInvalid") -> Refused:
    kind = KINDS.get(resource, resource)
    group = GROUPS.get(resource)
    details = {"name": name, "kind": kind, "causes": [{"reason": reason, "message": detail, "field": field}]}
    shown = f"{kind}.{group}" if group else kind
    return status(422, "Invalid", f'{shown} "{name}" is invalid: {field}: {detail}',
                  details | ({"group": group} if group else {}))  # fmt: skip


def bad_request(message: str) -> Refused:
    return status(400, "BadRequest", message)


def unsupported_media_type(kind: str) -> Refused:
    return status(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")


def _about(resource: str, name: str) -> Json:
    group = GROUPS.get(resource)
    return {"name": name} | ({"group": group} if group else {}) | {"kind": resource}
