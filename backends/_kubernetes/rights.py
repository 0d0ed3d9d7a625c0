"""Which rights pman needs, which of them it lacks, and the rules that would give them.

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backends._kubernetes.identity import Object

PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one kind of object, in the namespace of the jobs."""

    group: str
    resource: str
    verb: str


def _rights(group: str, resource: str, verbs: str) -> tuple[Right, ...]:
    return tuple(Right(group, resource, verb) for verb in verbs.split())


NEEDED = (
    *_rights("batch", "jobs", "create get list watch patch delete"),
    *_rights("", "pods", "list watch patch deletecollection"),
    *_rights("", "pods/log", "get"),
    *_rights("", "events", "list"),
)
"""All that pman ever does. (With GPUS=auto it also tries to list the nodes of the cluster, and does without.)"""


def review(right: Right, namespace: str) -> Object:
    """Return the body that asks whether we have a right."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "namespace": namespace,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }


def missing(ask: Callable[[Object], Object], namespace: str) -> list[Right]:
    """Return the rights that we lack; ``ask`` posts a review and returns the answer.

    Raises:
        BackendError: the server does not answer.
    """
    return [right for right in NEEDED if not ask(review(right, namespace)).get("status", {}).get("allowed")]


def explain_missing(rights: Iterable[Right], namespace: str) -> str:
    """Return what is missing as rules of a Role, to be pasted."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.resource), []).append(right.verb)
    rules = "".join(
        f'\n- apiGroups: ["{group}"]\n  resources: ["{resource}"]\n  verbs: [{", ".join(listed)}]'
        for (group, resource), listed in verbs.items()
    )
    return f"rights are missing in the namespace {namespace}; add to the rules of pman's Role:{rules}"
