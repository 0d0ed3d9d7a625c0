"""What is read of one task of a swarm, and which tasks are the job's. Pure.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Task (Status, DesiredState)
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backends._engine.labels import identity_of
from backends._engine.state import moment
from backends._exit_codes import KILLED
from backends._identity import Identity
from backends._swarm.service import NOWHERE

Task = Mapping[str, Any]

UNPLACED = frozenset({"new", "allocated", "pending"})
PLACED = frozenset({"assigned", "accepted", "preparing", "ready", "starting"})
ENDS = frozenset({"complete", "failed", "rejected", "shutdown", "remove", "orphaned"})
WITHDRAWN = frozenset({"shutdown", "remove"})
NONZERO = re.compile(r"non-zero exit \((\d+)\)")
FOREVER = datetime.max.replace(tzinfo=UTC)


def real_tasks(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that are the job, by replica: of several the first, and none of those that wait for no node."""
    first: dict[int, Task] = {}
    for task in sorted(tasks, key=lambda task: moment(task["CreatedAt"]) or FOREVER):
        if _may_run(task):
            first.setdefault(int(task.get("Slot", 0)), task)
    return [first[slot] for slot in sorted(first)]


def replaced(tasks: Iterable[Task], real: Sequence[Task]) -> frozenset[str]:
    """Return the ids of those of the ``real`` tasks that are followed by others: Swarm by itself makes none."""
    ids = {task["ID"] for task in real}
    slots = {int(task.get("Slot", 0)) for task in tasks if _may_run(task) and task["ID"] not in ids}
    return frozenset(task["ID"] for task in real if int(task.get("Slot", 0)) in slots)


def _may_run(task: Task) -> bool:
    return NOWHERE not in (task["Spec"].get("Placement", {}).get("Constraints") or ())


def identity_of_task(task: Task) -> Identity | None:
    """Return whose a task is, even if its service is gone."""
    return identity_of(task["Spec"]["ContainerSpec"].get("Labels"))


def is_on_node(task: Task) -> bool:
    """Whether a task depends on its node now."""
    return task["Status"]["State"] in PLACED | {"running"}


def is_puzzling(task: Task) -> bool:
    """Whether only its container can tell if a task was killed for want of memory."""
    return exit_code(task) == KILLED and memory_bytes(task) > 0


def container_of(task: Task) -> str:
    """Return the id of a task's container; ``""`` if it never had one."""
    return str((task["Status"].get("ContainerStatus") or {}).get("ContainerID", ""))


def exit_code(task: Task) -> int | None:
    """Return the exit code of a task that failed by one."""
    if task["Status"]["State"] != "failed":
        return None
    match = NONZERO.search(str(task["Status"].get("Err", "")))
    return int(match[1]) if match else None


def memory_bytes(task: Task) -> int:
    """Return a task's memory limit; 0 if it has none."""
    return int(task["Spec"].get("Resources", {}).get("Limits", {}).get("MemoryBytes", 0))
