"""Which nodes of a swarm do not answer, and when what runs there is given up. Pure.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Node/operation/NodeList (Status.State: unknown, down,
ready, disconnected; the manager calls a node down 11 to 15 s after its last sign of life)

The rule: a node that is not ready for NODE_LOST_GRACE_S is lost, and so is one that was removed; what runs there ends
as FAILED(NODE_FAIL). The grace is counted by the manager's clock from the last change of the node, so that a restart of
pman does not begin it anew. The end is written into the service (``FINAL``) before anybody is told: the node may come
back and tell another story, and Swarm kills there what it finds running.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends._engine.state import moment


@dataclass(frozen=True, slots=True)
class Away:
    """A node that does not answer."""

    name: str
    since: datetime | None
    """``None``: it was removed from the swarm."""
    is_lost: bool = False

    def __str__(self) -> str:
        if self.since is None:
            return f"node {self.name} was removed from the swarm"
        return f"node {self.name} does not answer since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a swarm, as listed at ``now``."""

    by_id: Mapping[str, Mapping[str, Any]]
    now: datetime | None = None
    """The manager's time; only needed if a node is away."""
    grace_s: float = 60.0

    def away(self, node_id: str) -> Away | None:
        """Return what is wrong with a node; ``None`` if it answers."""
        node = self.by_id.get(node_id)
        if node is None:
            return Away(node_id, None, is_lost=True)
        if node["Status"]["State"] == "ready":
            return None
        since = moment(node["UpdatedAt"])
        is_lost = since is not None and self.now is not None and (self.now - since).total_seconds() > self.grace_s
        return Away(node["Description"]["Hostname"], since, is_lost=is_lost)

    def have_gpus(self, resource: str) -> bool:
        """Whether any node offers the generic resource of this kind."""
        return any(resource in _kinds(node) for node in self.by_id.values())


def nodes_by_id(listed: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {node["ID"]: node for node in listed}


def _kinds(node: Mapping[str, Any]) -> set[str]:
    resources = node.get("Description", {}).get("Resources", {}).get("GenericResources") or ()
    return {kind["Kind"] for resource in resources for kind in resource.values()}
