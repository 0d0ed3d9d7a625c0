"""What the server does with a call, apart from HTTP: who asks, for what, whether he may, and the answer.

Jobs, pods and their logs, events, and reviews of one's own rights: https://kubernetes.io/docs/reference/kubernetes-api/
"""

import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.fakes.kube_api import refusals
from tests.fakes.kube_api.defaults import job_as_stored
from tests.fakes.kube_api.deletion import delete_job, delete_pod
from tests.fakes.kube_api.patches import patched
from tests.fakes.kube_api.selectors import matches_fields, matches_labels
from tests.fakes.kube_api.storage import Json, Key, Storage
from tests.fakes.kube_api.validation import check_change, check_job

ROUTE = re.compile(
    r"(?:/api/v1|/apis/(?P<group>[^/]+)/v1)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?"
)
KINDS = {"jobs": ("batch/v1", "Job"), "pods": ("v1", "Pod"), "events": ("v1", "Event"), "nodes": ("v1", "Node")}
GROUPS = {"jobs": "batch", "selfsubjectaccessreviews": "authorization.k8s.io"}
VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.0", "platform": "linux/amd64"}


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    content_type: str = ""
    token: str = ""


@dataclass(frozen=True)
class Reply:
    """One answer; a ``str`` is plain text."""

    body: Json | bytes
    code: int = 200


@dataclass(frozen=True)
class Watch:
    """The answer that is a stream: changes of these objects from a version on."""

    resource: str
    namespace: str
    query: Mapping[str, str]

    def matches(self, found: Json) -> bool:
        return matches(found, self.query)


@dataclass(frozen=True)
class User:
    """Who asks, and what he may not do: patterns like ``create jobs``, ``get pods/log``, ``*``."""

    name: str
    denied: tuple[str, ...] = ()

    def may(self, asked: str) -> bool:
        return not any(fnmatchcase(asked, pattern) for pattern in self.denied)


@dataclass(frozen=True)
class Target:
    """What a path is about."""

    verb: str
    resource: str
    namespace: str
    name: str
    sub: str

    @property
    def asked(self) -> str:
        return f"{self.verb} {self.resource}{f'/{self.sub}' if self.sub else ''}"


@dataclass
class Api:
    """All that the server knows. ``log_of`` returns what a container of a pod has written, ``None`` before it has."""

    storage: Storage
    log_of: Callable[[Json, str], bytes | None]
    users: dict[str, User] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=lambda: {"default", "kube-system"})
    nodes: list[Json] = field(default_factory=list)

    def target(self, call: Call) -> Target:
        """Read the path. Raises ``Refused``: there is no such thing."""
        if call.path in {"/version", "/readyz", "/livez"}:
            return Target("get", call.path, "", "", "")
        found = ROUTE.fullmatch(call.path)
        if found is None or GROUPS.get(found["resource"]) != found["group"]:
            raise refusals.no_such_path()
        name, is_watch = found["name"] or "", call.query.get("watch") in {"1", "true"}
        verbs = {
            "GET": "get" if name else "watch" if is_watch else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete" if name else "deletecollection",
        }
        if call.method not in verbs:
            raise refusals.status(405, "MethodNotAllowed", "the server does not allow this method on the resource")
        return Target(verbs[call.method], found["resource"], found["namespace"] or "", name, found["sub"] or "")

    def answer(self, call: Call, target: Target) -> Reply | Watch:
        """Do what is asked. Raises ``Refused``."""
        user = self.users.get(call.token)
        if user is None:
            raise refusals.unauthorized()
        if target.resource.startswith("/"):
            return Reply(VERSION if target.resource == "/version" else b"ok")
        if target.resource == "selfsubjectaccessreviews":
            return self._review(user, _body(call))
        if not user.may(target.asked):
            resource = f"{target.resource}/{target.sub}" if target.sub else target.resource
            raise refusals.forbidden(user.name, target.verb, resource, target.namespace, target.name)
        if target.resource == "nodes":
            return Reply(_listed("nodes", self.nodes, self.storage.version))
        if target.resource == "namespaces" and target.verb == "get":
            return Reply(self._namespace(target.name))
        if target.resource not in KINDS:
            raise refusals.no_such_path()
        if target.verb == "watch":
            return Watch(target.resource, target.namespace, call.query)
        with self.storage.changed:
            return getattr(self, f"_{target.verb}")(call, target)  # type: ignore[no-any-return]

    def _namespace(self, name: str) -> Json:
        if name not in self.namespaces:
            raise refusals.not_found("namespaces", name)
        return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}, "status": {"phase": "Active"}}

    def _review(self, user: User, review: Json) -> Reply:
        wanted = review["spec"]["resourceAttributes"]
        sub = f"/{wanted['subresource']}" if wanted.get("subresource") else ""
        status = {"allowed": user.may(f"{wanted['verb']} {wanted['resource']}{sub}")}
        return Reply(review | {"metadata": {}, "status": status}, 201)

    # Reading

    def _get(self, call: Call, target: Target) -> Reply:
        found = self._find(target)
        if target.sub == "log":
            return Reply(self._log(call, target, found))
        return Reply(found)

    def _log(self, call: Call, target: Target, pod: Json) -> bytes:
        container = call.query.get("container") or pod["spec"]["containers"][0]["name"]
        log = self.log_of(pod, container)
        if log is None:
            if "nodeName" not in pod["spec"]:
                return b""
            states = [one["state"] for one in pod["status"].get("containerStatuses", ())]
            reason = states[0].get("waiting", {}).get("reason", "ContainerCreating") if states else "ContainerCreating"
            has_ended = bool(states) and "terminated" in states[0]
            why = "is terminated" if has_ended else f"is waiting to start: {reason}"
            raise refusals.bad_request(f'container "{container}" in pod "{target.name}" {why}')
        lines = call.query.get("tailLines")
        if lines is not None:
            log = b"".join(log.splitlines(keepends=True)[-int(lines) :] if int(lines) else [])
        limit = call.query.get("limitBytes")
        return log if limit is None else log[: int(limit)]

    def _list(self, call: Call, target: Target) -> Reply:
        items, version, last = self._selected(call, target), self.storage.version, ""
        if proceed := call.query.get("continue"):
            version, last = self._position(proceed)
            items = [found for found in items if found["metadata"]["name"] > last]
        elif int(call.query.get("resourceVersion") or 0) > version:
            wanted = call.query["resourceVersion"]
            raise refusals.too_large_version(wanted, version)
        limit = int(call.query.get("limit") or 0)
        page = _listed(target.resource, items[:limit] if limit else items, version)
        if limit and len(items) > limit:
            position = {"v": "meta.k8s.io/v1", "rv": version, "start": items[limit - 1]["metadata"]["name"]}
            page["metadata"] |= {
                "continue": base64.urlsafe_b64encode(json.dumps(position).encode()).decode(),
                "remainingItemCount": len(items) - limit,
            }
        return Reply(page)

    def _position(self, proceed: str) -> tuple[int, str]:
        try:
            position = json.loads(base64.urlsafe_b64decode(proceed))
        except ValueError:
            raise refusals.bad_request("continue key is not valid") from None
        try:
            self.storage.changes_since(position["rv"])
        except refusals.Refused:
            raise refusals.recorded("410, continue") from None
        return position["rv"], position["start"]

    def _selected(self, call: Call, target: Target) -> list[Json]:
        return [found for found in self.storage.all(target.resource, target.namespace) if matches(found, call.query)]

    # Writing

    def _create(self, call: Call, target: Target) -> Reply:
        if target.resource != "jobs":
            raise refusals.status(405, "MethodNotAllowed", "this fake makes nothing but jobs")
        if target.namespace not in self.namespaces:
            raise refusals.not_found("namespaces", target.namespace)
        body = _body(call)
        check_job(body)
        key, stored = Key("jobs", target.namespace, body["metadata"]["name"]), job_as_stored(body, str(uuid.uuid4()))
        if call.query.get("dryRun") == "All":
            return Reply(stored, 201)
        return Reply(self.storage.create(key, stored), 201)

    def _update(self, call: Call, target: Target) -> Reply:
        return self._changed(target, lambda _: _body(call))

    def _patch(self, call: Call, target: Target) -> Reply:
        return self._changed(target, lambda found: patched(call.content_type, found, _body(call)))

    def _changed(self, target: Target, new: Callable[[Json], Json]) -> Reply:
        before = self._find(target)
        after = new(before)
        if (
            after["metadata"].get("resourceVersion", before["metadata"]["resourceVersion"])
            != (before["metadata"]["resourceVersion"])
        ):
            raise refusals.modified(target.resource, target.name)
        check_change(target.resource, before, after)

        def change(found: Json) -> None:
            if after["spec"] != found["spec"]:
                found["metadata"]["generation"] += 1
            found["spec"] = after["spec"]
            for name in ("labels", "annotations", "finalizers", "ownerReferences"):
                found["metadata"].pop(name, None)
                if after["metadata"].get(name):
                    found["metadata"][name] = after["metadata"][name]

        return Reply(self.storage.update(self._key(target), change) or before)

    def _delete(self, call: Call, target: Target) -> Reply:
        found, options = self._find(target), _options(call)
        for name, wanted in options.get("preconditions", {}).items():
            if found["metadata"][name] != wanted:
                kind = {"uid": "UID", "resourceVersion": "ResourceVersion"}[name]
                raise refusals.precondition(target.resource, target.name, kind, wanted, found["metadata"][name])
        left = self._remove(self._key(target), options)
        if target.resource == "pods" or (left is not None and "deletionTimestamp" in left["metadata"]):
            return Reply(left or found)
        details = {"name": target.name, "kind": target.resource, "uid": found["metadata"]["uid"]}
        details |= {"group": GROUPS[target.resource]} if target.resource in GROUPS else {}
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Reply(success | {"details": details})

    def _deletecollection(self, call: Call, target: Target) -> Reply:
        items = self._selected(call, target)
        for found in items:
            key = Key(target.resource, found["metadata"]["namespace"], found["metadata"]["name"])
            self._remove(key, _options(call))
        return Reply(_listed(target.resource, items, self.storage.version))

    def _remove(self, key: Key, options: Json) -> Json | None:
        grace = options.get("gracePeriodSeconds")
        if key.resource == "pods":
            return delete_pod(self.storage, key, None if grace is None else int(grace))
        return delete_job(self.storage, key, options.get("propagationPolicy", "Orphan"))

    def _key(self, target: Target) -> Key:
        return Key(target.resource, target.namespace, target.name)

    def _find(self, target: Target) -> Json:
        found = self.storage.get(self._key(target))
        if found is None:
            raise refusals.not_found(target.resource, target.name)
        return found


def matches(found: Json, query: Mapping[str, str]) -> bool:
    """Whether a list or a watch with this query shows the object."""
    labels = found["metadata"].get("labels", {})
    return matches_labels(query.get("labelSelector", ""), labels) and matches_fields(
        query.get("fieldSelector", ""), found
    )


def _listed(resource: str, items: list[Json], version: int) -> Json:
    """Return a list: its items do not say what they are."""
    api_version, kind = KINDS[resource]
    bare = [{key: value for key, value in found.items() if key not in {"kind", "apiVersion"}} for found in items]
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    return {"kind": f"{kind}List", "apiVersion": api_version, "metadata": metadata, "items": bare}


def _options(call: Call) -> Json:
    """Return the DeleteOptions, of the query or of the body."""
    return dict(call.query) | (_body(call) if call.body else {})


def _body(call: Call) -> Json:
    try:
        body = json.loads(call.body)
    except ValueError as error:
        raise refusals.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(body, dict):
        raise refusals.bad_request("the object provided is unrecognized")
    return body
