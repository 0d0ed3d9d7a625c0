"""What an API server keeps: objects, each change of them with its own version, and how far back changes are known.

The version counts all changes of all kinds, as in etcd, so it also says where a list ends and a watch begins.
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

import pickle
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.fakes.kube_api import refusals

Json = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """Where an object is: ``jobs``, ``pods`` or ``events``; its namespace; its name."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    """One line of a watch. ``found`` is never written to: whoever changes an object makes a copy."""

    version: int
    type: str
    key: Key
    found: Json


def now() -> str:
    """Return the time as Kubernetes writes it: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def copied(found: Json) -> Json:
    """Return a deep copy; ``copy.deepcopy`` takes ten times as long, and was most of what the fake did."""
    copy: Json = pickle.loads(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
    return copy


class Storage:
    """All objects of one cluster. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._objects: dict[Key, Json] = {}
        self._changes: list[Change] = []
        self._version = 1000
        self._forgotten = 0

    @property
    def version(self) -> int:
        with self.changed:
            return self._version

    def get(self, key: Key) -> Json | None:
        with self.changed:
            return self._objects.get(key)

    def all(self, resource: str, namespace: str = "") -> list[Json]:
        """Return the objects in the order of their names; without a namespace those of all."""
        with self.changed:
            found = [key for key in self._objects if key.resource == resource and namespace in {"", key.namespace}]
            return [self._objects[key] for key in sorted(found, key=lambda key: (key.namespace, key.name))]

    def create(self, key: Key, body: Json) -> Json:
        """Add an object. Raises ``Refused`` (409) if there is one."""
        with self.changed:
            if key in self._objects:
                raise refusals.already_exists(key.resource, key.name)
            found = copied(body)
            found["metadata"] |= {
                "name": key.name,
                "namespace": key.namespace,
                "uid": found["metadata"].get("uid") or str(uuid.uuid4()),
                "creationTimestamp": now(),
            }
            if key.resource != "events":
                found["metadata"]["generation"] = 1
            return self._write("ADDED", key, found)

    def update(self, key: Key, change: Callable[[Json], object]) -> Json | None:
        """Let ``change`` write into a copy and store it, if it differs. ``None``: there is no such object."""
        with self.changed:
            before = self._objects.get(key)
            if before is None:
                return None
            after = copied(before)
            change(after)
            if after == before:
                return before
            if _is_marked(after) and not _is_marked(before):
                after["metadata"]["generation"] += 1
            if _is_marked(after) and _may_go(after):
                if not before["metadata"].get("finalizers"):  # its kubelet has let go of it
                    self._write("MODIFIED", key, after)
                return self.delete(key)
            return self._write("MODIFIED", key, after)

    def delete(self, key: Key) -> Json | None:
        """Remove an object, whatever holds it."""
        with self.changed:
            found = self._objects.pop(key, None)
            if found is not None:
                self._write("DELETED", key, copied(found))
            return found

    def changes_since(self, version: int) -> list[Change]:
        """Return what has changed after ``version``. Raises ``Refused`` (410) if that is too long ago."""
        with self.changed:
            if version < self._forgotten:
                raise refusals.expired(f"too old resource version: {version} ({self._forgotten})")
            return [change for change in self._changes if change.version > version]

    def forget(self) -> None:
        """Lose all changes up to now, as a compaction or a new watch cache does: older versions are 410 from now on."""
        with self.changed:
            self._version += 1
            self._forgotten = self._version
            self._changes.clear()
            self.changed.notify_all()

    def _write(self, kind: str, key: Key, found: Json) -> Json:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        if kind != "DELETED":
            self._objects[key] = found
        self._changes.append(Change(self._version, kind, key, found))
        self.changed.notify_all()
        return found


def _is_marked(found: Json) -> bool:
    return "deletionTimestamp" in found["metadata"]


def _may_go(found: Json) -> bool:
    """An object that is being deleted goes when nothing holds it: no finalizer, and no process that has a grace."""
    metadata = found["metadata"]
    return not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")
