"""One look at a swarm: all our services and tasks, and what must be asked beside them to understand them.

Some of that is there for a moment only, so it is remembered until its task is gone.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backends._engine.client import Client, translated
from backends._engine.errors import Doing, NotThere
from backends._engine.labels import identity_of, of_instance
from backends._engine.state import LOOK_AGAIN_S, moment
from backends._swarm.nodes import Nodes, nodes_by_id
from backends._swarm.replica import Facts
from backends._swarm.service import Service
from backends._swarm.task import WITHDRAWN, Task, container_of, identity_of_task, is_on_node, is_puzzling
from pman_core.backend import JobRef
from pman_core.clock import boot_clock_s

BACK_S = 30.0
"""A node that is back tells within a second what it has killed; one that is silent for so long is away again."""


class Survey:
    """What one look at the swarm has shown."""

    def __init__(self, services: Iterable[Service], tasks: Iterable[Task], facts: Facts) -> None:
        self.facts = facts
        by_service: dict[str, list[Task]] = {}
        for task in tasks:
            by_service.setdefault(task["ServiceID"], []).append(task)
        self.jobs: dict[tuple[str, str], tuple[Service, list[Task]]] = {}
        for service in services:
            identity = identity_of(service["Spec"]["Labels"])
            of_service = by_service.pop(service["ID"], [])
            if identity is not None:
                self.jobs[identity.jid, identity.generation] = service, of_service
        self._orphans = [task for listed in by_service.values() for task in listed]

    def is_being_removed(self, ref: JobRef) -> bool:
        """Whether tasks of the job are left though its service is gone.

        That one is on a node which does not answer changes nothing: its process may well live. Swarm itself forgets the
        task when the node is removed, or has been down for a day.
        """
        return any(is_of(task, ref) for task in self._orphans)


@dataclass(frozen=True, slots=True)
class _Absence:
    """A task ran when its node did not answer."""

    told: str
    back_at: str = ""
    """Since when the node answers again, as the manager says; ``""``: it does not."""
    seen_back_s: float = 0.0

    def is_outlived(self, begun_s: float) -> bool:
        """Whether a task that still runs, at a look begun at ``begun_s``, was not killed by its node's return."""
        return bool(self.back_at) and begun_s - self.seen_back_s > BACK_S


class Surveyor:
    """Takes the surveys of one instance. Calls may come from several threads."""

    def __init__(self, instance: str, node_lost_grace_s: float, clock_s: Callable[[], float] = boot_clock_s) -> None:
        self.node_id = ""
        """The node of the engine that we speak to: its containers alone can be asked."""
        self._instance = instance
        self._grace_s = node_lost_grace_s
        self._oom: dict[str, bool] = {}
        self._been_away: dict[str, _Absence] = {}
        self._clock_s = clock_s
        self._lock = threading.Lock()

    def take(self, engine: Client, generation: str = "") -> Survey:
        """List our tasks and services, all of them or those of ``generation``.

        The tasks first: one that was made in between is a service without tasks, which waits; the other way round it
        would look like a service that was removed.
        """
        begun_s = self._clock_s()
        filters = of_instance(self._instance, generation)
        with translated(Doing.ASK):
            tasks = engine.tasks(filters=filters)  # type: ignore[no-untyped-call]
            services = engine.services(filters=filters)  # type: ignore[no-untyped-call]
        nodes = self._nodes_of(engine, tasks)
        facts = Facts(nodes, self._oom_of(engine, tasks), self._been_away_of(tasks, nodes, begun_s))
        if not generation:
            self._forget_all_but({container_of(task) for task in tasks} | {task["ID"] for task in tasks})
        return Survey(services, tasks, facts)

    def _nodes_of(self, engine: Client, tasks: Iterable[Task]) -> Nodes:
        """Ask for the nodes, if it matters how they are; listed after the tasks, they are all there."""
        busy = {task["NodeID"] for task in tasks if is_on_node(task)}
        if not busy:
            return Nodes({})
        with translated(Doing.ASK):
            nodes = Nodes(nodes_by_id(engine.nodes()), grace_s=self._grace_s)
            if not any(nodes.away(node_id) for node_id in busy):
                return nodes
            return Nodes(nodes.by_id, moment(engine.info()["SystemTime"]), nodes.grace_s)

    def _oom_of(self, engine: Client, tasks: Iterable[Task]) -> dict[str, bool]:
        """Return which of the killed tasks were out of memory, as far as our own engine has their containers."""
        for task in tasks:
            container_id = container_of(task)
            if task.get("NodeID") == self.node_id and is_puzzling(task) and container_id not in self._oom:
                try:
                    is_oom = _was_oom(engine, container_id) or _was_oom(engine, container_id, LOOK_AGAIN_S)
                except NotThere:
                    continue
                with self._lock:
                    self._oom[container_id] = is_oom
        with self._lock:
            return dict(self._oom)

    def _been_away_of(self, tasks: Iterable[Task], nodes: Nodes, begun_s: float) -> dict[str, str]:
        """Remember which tasks ran when their nodes did not answer; return all of which that is known.

        A node may be called away though its engine and its jobs live on, as all are when another manager takes the
        lead: what runs on long after it is back was not killed by that, whatever it will end of.
        """
        with self._lock:
            for task in filter(is_on_node, tasks):
                task_id, node_id = task["ID"], task["NodeID"]
                if away := nodes.away(node_id):
                    self._been_away[task_id] = _Absence(str(away))
                elif known := self._been_away.get(task_id):
                    back_at = nodes.by_id[node_id]["UpdatedAt"]
                    if back_at != known.back_at:
                        self._been_away[task_id] = _Absence(known.told, back_at, self._clock_s())
                    elif known.is_outlived(begun_s) and task["DesiredState"] not in WITHDRAWN:
                        del self._been_away[task_id]
            return {task_id: known.told for task_id, known in self._been_away.items()}

    def _forget_all_but(self, ids: set[str]) -> None:
        with self._lock:
            for memory in (self._oom, self._been_away):
                for known in memory.keys() - ids:
                    memory.pop(known)


def is_of(task: Task, ref: JobRef) -> bool:
    """Whether a task is the job's, even if its service is gone."""
    identity = identity_of_task(task)
    return identity is not None and (identity.jid, identity.generation) == (ref.jid, ref.generation)


def _was_oom(engine: Client, container_id: str, wait_s: float = 0) -> bool:
    time.sleep(wait_s)  # the engine may tell a moment late
    with translated(Doing.ASK):
        return bool(engine.inspect_container(container_id)["State"]["OOMKilled"])
