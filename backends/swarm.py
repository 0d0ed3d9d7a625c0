"""Runs each job as a service of a Docker swarm; its workers are the replicas of the service.

Docker Engine API 1.41 (Docker 20.10) and later: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service
What a service, a task and a slot are: https://github.com/moby/swarmkit/blob/master/design/task_model.md

* A service starts by itself and its creation is atomic: a job is never half submitted.
* Swarm announces nothing about tasks, so it is polled: one list of tasks, one of services, and one of nodes as long as
  anything runs, for any number of jobs. A job itself costs four calls: create, log (which looks for its task), delete.
* A task has one time, that of its last change. So a job that runs tells when it began, and one that has ended when it
  was made.
* What ends a job and keeps its object: see :func:`backends._engine.swarm_service.ended`. When a node is given up: see
  :mod:`backends._engine.swarm_nodes`.
* What pman asks Swarm to set aside for a job is its limits, so a job that fits nowhere waits, and its message says why.
* Nodes fetch images themselves; the credentials for that are those of pman's own ``~/.docker/config.json``.
* A service has no switch for swap: beside its memory limit a job may have as much swap again, where a node has any.
  ``no-new-privileges`` is set from API 1.44 on, older engines cannot.
* ``STORAGE_TYPE=docker_local_volume``: a volume belongs to one engine, so jobs run on the node that pman speaks to.
  ``nfs``: Swarm leaves one empty anonymous volume on the node for each of the two mounts (``docker volume prune``).
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from backends._engine.base import EngineBackend
from backends._engine.client import connect, translated
from backends._engine.errors import Doing, NameTaken, NotThere, OutOfDate
from backends._engine.labels import Labels, identity_of, of_instance, overdue_message, spec_of
from backends._engine.logs import end_of, frames
from backends._engine.mounts import storage_of
from backends._engine.settings import DOCKER_SOCKET, EngineSettings, tls_folder
from backends._engine.state import HANDLE_VERSION, handle_of, moment
from backends._engine.swarm_nodes import Away, Nodes, nodes_by_id
from backends._engine.swarm_service import ENDED, FINAL, build_resources, build_service, ended
from backends._engine.swarm_state import (
    Ending,
    Facts,
    Looked,
    Service,
    Task,
    container_of,
    ending_label,
    final_label,
    identity_of_task,
    is_on_node,
    is_puzzling,
    observed_from,
    real_tasks,
)
from backends._engine.volumes import find_volume
from backends._identity import Identity
from pman_core.backend import (
    Absent,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
)
from pman_core.errors import Conflict, Rejected, Unavailable
from pman_core.job import JobSpec, native_name
from pman_core.log_tail import tail
from pman_core.settings import Names
from pman_core.settings import Settings as CommonSettings
from pman_core.states import TERMINAL, Reason

log = logging.getLogger(__name__)

UPDATES_MAX = 10
"""An update is refused if the service has changed since it was read; Swarm itself changes one two or three times."""
LOOK_AGAIN_S = 0.05


class SwarmSettings(EngineSettings):
    """The settings of this backend alone."""

    swarm_constraints: Names = ()
    swarm_reserve: bool = True
    swarm_workers_max: Annotated[int, Field(ge=1)] = 100
    swarm_gpu_resource: Annotated[str, Field(min_length=1)] = "gpu"
    node_lost_grace_s: Annotated[float, Field(ge=0)] = 60.0

    @field_validator("swarm_constraints")
    @classmethod
    def _check_constraints(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faulty := [constraint for constraint in value if "==" not in constraint and "!=" not in constraint]:
            raise ValueError(f"must be like node.role==worker, with commas between them, not {', '.join(faulty)}")
        return value


class SwarmBackend(EngineBackend):
    """See the text of the module."""

    name = "swarm"
    Settings = SwarmSettings
    poll_s = 1.0
    own: SwarmSettings

    def __init__(self, common: CommonSettings, own: SwarmSettings) -> None:
        super().__init__(common, own)
        self._constraints = own.swarm_constraints
        self._node_id = ""
        self._oom: dict[str, bool] = {}
        self._been_away: dict[str, str] = {}
        self._lock = threading.Lock()
        self.capabilities = self._capabilities(has_gpus=own.gpus == "yes")

    def open(self) -> None:
        url = self.common.docker_host or f"unix://{DOCKER_SOCKET}"
        timeout_s = self.own.engine_timeout_s
        client = connect(url, tls_folder(self.common, Path.home()), timeout_s, silence_s=timeout_s)
        with translated(Doing.ASK):
            swarm = client.info()["Swarm"]
        if swarm["LocalNodeState"] not in {"active", "inactive"}:
            raise Unavailable(f"the swarm at {url} is {swarm['LocalNodeState']}: {swarm.get('Error', '')}")
        if not swarm["ControlAvailable"]:
            raise Rejected(
                f"the engine at {url} is no manager of a swarm: run `docker swarm init` there, or set DOCKER_HOST"
            )
        with translated(Doing.ASK):
            nodes = Nodes(nodes_by_id(client.nodes()))
        self._node_id = swarm["NodeID"]
        self.capabilities = self._capabilities(has_gpus=self._has_gpus(nodes))
        volume = find_volume(client, self.common)
        if volume is not None:
            self._constraints = (*self.own.swarm_constraints, f"node.id=={self._node_id}")
            log.info("volume %s is on node %s: all jobs run there", volume.name, self._node_id)
        self._storage = storage_of(self.common, volume, has_subpath=False)
        self._client = client

    def _capabilities(self, *, has_gpus: bool) -> Capabilities:
        return Capabilities(number_of_workers_max=self.own.swarm_workers_max, gpus=has_gpus, ends_overdue=False)

    def _has_gpus(self, nodes: Nodes) -> bool:
        return nodes.have_gpus(self.own.swarm_gpu_resource) if self.own.gpus == "auto" else self.own.gpus == "yes"

    # Submit

    def submit(self, spec: JobSpec) -> Handle:
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        body = self._body(spec)
        try:
            with translated(Doing.CREATE, spec.request.image):
                made = self._engine.create_service(  # type: ignore[no-untyped-call]
                    body["TaskTemplate"],
                    name=body["Name"],
                    labels=body["Labels"],
                    mode=body["Mode"],
                    update_config=body["UpdateConfig"],
                )
        except NameTaken as error:
            return self._adopt(spec, str(error))
        return handle_of(made["ID"])

    def _body(self, spec: JobSpec) -> dict[str, Any]:
        resources = build_resources(
            spec,
            self.common,
            reserve=self.own.swarm_reserve,
            memory_soft=self.own.memory_limit_soft,
            pids_limit=self.own.pids_limit,
            gpu_resource=self.own.swarm_gpu_resource,
        )
        return build_service(
            spec,
            self.common,
            self._mounts(spec),
            self._constraints,
            resources=resources,
            drop_capabilities=self.own.drop_capabilities,
            api_version=self._engine.api_version,
        )

    def _adopt(self, spec: JobSpec, refusal: str) -> Handle:
        service = self._inspect(spec.native_name)
        found = identity_of(service["Spec"]["Labels"])
        if found != Identity(spec.jid, spec.generation, spec.instance, spec.request.digest):
            raise Conflict(f"the name {spec.native_name} is held by another service: {refusal}")
        return handle_of(service["ID"])

    # Observe

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        if not refs:
            return {}
        survey = self._survey(refs[0].generation if len(refs) == 1 else "")
        return {(ref.jid, ref.generation): self._sight(ref, survey) for ref in refs}

    def owned(self) -> Iterator[Owned]:
        survey = self._survey()
        for service, tasks in survey.jobs.values():
            sighting = self._settled(service, observed_from(service, tasks, survey.facts))
            if isinstance(sighting, Observed):
                yield Owned(sighting, spec_of(service["Spec"]["Labels"]))

    def _survey(self, generation: str = "") -> "Survey":
        """List our tasks and services, all of them or those of ``generation``.

        The tasks first: one that was made in between is a service without tasks, which waits; the other way round it
        would look like a service that was removed.
        """
        filters = of_instance(self.common.pman_instance, generation)
        with translated(Doing.ASK):
            tasks = self._engine.tasks(filters=filters)  # type: ignore[no-untyped-call]
            services = self._engine.services(filters=filters)  # type: ignore[no-untyped-call]
        nodes = self._nodes_of(tasks)
        facts = Facts(nodes, self._oom_of(tasks), self._been_away_of(tasks, nodes))
        if not generation:
            self._forget_all_but({container_of(task) for task in tasks} | {task["ID"] for task in tasks})
        return Survey(services, tasks, facts)

    def _nodes_of(self, tasks: Iterable[Task]) -> Nodes:
        """Ask for the nodes, if it matters how they are; listed after the tasks, they are all there."""
        busy = {task["NodeID"] for task in tasks if is_on_node(task)}
        if not busy:
            return Nodes({})
        with translated(Doing.ASK):
            nodes = Nodes(nodes_by_id(self._engine.nodes()), grace_s=self.own.node_lost_grace_s)
            if not any(nodes.away(node_id) for node_id in busy):
                return nodes
            return Nodes(nodes.by_id, moment(self._engine.info()["SystemTime"]), nodes.grace_s)

    def _oom_of(self, tasks: Iterable[Task]) -> dict[str, bool]:
        """Return which of the killed tasks were out of memory, as far as our own engine has their containers."""
        for task in tasks:
            container_id = container_of(task)
            if task.get("NodeID") == self._node_id and is_puzzling(task) and container_id not in self._oom:
                try:
                    is_oom = self._was_oom(container_id) or self._was_oom(container_id, LOOK_AGAIN_S)
                except NotThere:
                    continue
                with self._lock:
                    self._oom[container_id] = is_oom
        with self._lock:
            return dict(self._oom)

    def _was_oom(self, container_id: str, wait_s: float = 0) -> bool:
        time.sleep(wait_s)  # the engine may tell a moment late
        with translated(Doing.ASK):
            return bool(self._engine.inspect_container(container_id)["State"]["OOMKilled"])

    def _been_away_of(self, tasks: Iterable[Task], nodes: Nodes) -> dict[str, str]:
        """Remember which tasks ran when their nodes did not answer; return all of which that is known."""
        with self._lock:
            for task in tasks:
                if is_on_node(task) and (away := nodes.away(task["NodeID"])):
                    self._been_away[task["ID"]] = str(away)
            return dict(self._been_away)

    def _forget_all_but(self, ids: set[str]) -> None:
        with self._lock:
            for memory in (self._oom, self._been_away):
                for known in memory.keys() - ids:
                    memory.pop(known)

    def _sight(self, ref: JobRef, survey: "Survey") -> Sighting:
        if ref.is_newer_than(HANDLE_VERSION):
            return Unknown("the handle was written by a newer release")
        job = survey.jobs.get((ref.jid, ref.generation))
        if job is not None:
            return self._settled(job[0], observed_from(*job, survey.facts))
        if survey.is_being_removed(ref):
            return Unknown("the service is removed, its containers are not gone yet")
        return Absent()

    def _settled(self, service: Service, looked: Looked) -> Sighting:
        """Return the sighting, after what its tasks do not keep has been written into the service."""
        if looked.must_be_kept and isinstance(looked.sighting, Observed):
            label = {FINAL: json.dumps(final_label(looked.sighting))}
            try:
                self._update(service, ended(service["Spec"], label))
            except (NotThere, OutOfDate):
                return Unknown("its node was lost, and the service has just changed")
        return looked.sighting

    # Logs

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable(f"the handle of {ref.jid} was written by a newer release")
        with translated(Doing.ASK):
            wanted = of_instance(self.common.pman_instance, ref.generation)
            listed = self._engine.tasks(filters=wanted)  # type: ignore[no-untyped-call]
        tasks = real_tasks(task for task in listed if _is_of(ref, identity_of_task(task)))
        if len(tasks) == 1:
            return self._log_of(tasks[0], tail_lines, max_bytes)
        return self._logs_of(tasks, tail_lines, max_bytes)

    def _log_of(self, task: Task, tail_lines: int, max_bytes: int, away: Away | None = None) -> str:
        """Return the log of one replica. It has line ends as the job wrote them: no terminal is in between."""
        if not container_of(task):
            return ""
        if away is not None:  # Swarm would wait for it until the time-out
            raise Unavailable(str(away))
        path = f"/tasks/{task['ID']}/logs"
        try:
            with (
                translated(Doing.ASK),
                self._engine.get_stream(path, stdout="1", stderr="1", tail=str(tail_lines)) as response,
            ):
                # One byte more than asked for tells a log that is cut from one that is not.
                end = end_of(frames(response.iter_content(65536)), max_bytes + 1)
        except NotThere:
            return ""
        return tail(end, tail_lines, max_bytes)

    def _logs_of(self, tasks: Sequence[Task], tail_lines: int, max_bytes: int) -> str:
        """Return the logs of all replicas, each with its share of the space; one that cannot be read says so."""
        with translated(Doing.ASK):
            nodes = Nodes(nodes_by_id(self._engine.nodes()))
        sections, failures = [], []
        for task in tasks:
            head = f"--- worker {task['Slot']} of {len(tasks)} ---\n"
            away = nodes.away(task.get("NodeID", ""))
            try:
                text = self._log_of(task, tail_lines, max(0, max_bytes // len(tasks) - len(head) - 1), away)
            except Unavailable as error:
                failures.append(error)
                text = f"(its log cannot be read: {error})"
            sections.append(f"{head}{text}" if text.endswith("\n") or not text else f"{head}{text}\n")
        if failures and len(failures) == len(tasks):
            raise failures[0]
        return tail("".join(sections).encode(), tail_lines, max_bytes)

    # End and remove

    def end(self, jid: str, generation: str) -> None:
        self._end(jid, generation, lambda _: Ending(Reason.CANCELLED, "ended on request", datetime.now(UTC)))

    def end_overdue(self, jid: str, generation: str) -> None:
        def overdue(labels: Labels) -> Ending:
            return Ending(Reason.TIME_LIMIT, overdue_message(labels, self.common), datetime.now(UTC))

        self._end(jid, generation, overdue)

    def _end(self, jid: str, generation: str, ending_of: Callable[[Labels], Ending]) -> None:
        """Shut the job's service down, and have it tell the ending of a service with such labels."""
        for _ in range(UPDATES_MAX):
            survey = self._survey(generation)
            job = survey.jobs.get((jid, generation))
            if job is None:
                return
            service, tasks = job
            looked = observed_from(service, tasks, survey.facts)
            has_ended = isinstance(looked.sighting, Observed) and looked.sighting.state in TERMINAL
            labels = service["Spec"]["Labels"]
            if (has_ended and not looked.must_be_kept) or ENDED in labels:
                return
            label = {ENDED: json.dumps(ending_label(ending_of(labels)))}
            try:
                self._update(service, ended(service["Spec"], label))
            except OutOfDate:
                continue
            except NotThere:
                pass
            return
        raise Unavailable(f"the service of {jid} changes all the time")

    def remove(self, jid: str, generation: str) -> bool:
        # By its name alone, which only this job can have. Its containers go a moment later: `observe` tells when.
        try:
            with translated(Doing.END):
                self._engine.remove_service(native_name(jid, generation))  # type: ignore[no-untyped-call]
        except NotThere:
            pass
        return False

    def _inspect(self, name: str) -> Service:
        with translated(Doing.ASK):
            service: Service = self._engine.inspect_service(name)  # type: ignore[no-untyped-call]
        return service

    def _update(self, service: Service, body: Mapping[str, Any]) -> None:
        """Replace a service's specification, unless it has changed since it was read.

        Raises:
            OutOfDate: it has.
            NotThere: it was removed.
        """
        with translated(Doing.END):
            self._engine.update_service(
                service["ID"],
                service["Version"]["Index"],
                task_template=body["TaskTemplate"],
                name=body["Name"],
                labels=body["Labels"],
                mode=body["Mode"],
                update_config=body.get("UpdateConfig"),
            )

    # Health

    def health(self) -> Health:
        try:
            with translated(Doing.ASK):
                swarm = self._engine.info()["Swarm"]
        except Unavailable as error:
            return Health(ok=False, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
            return Health(ok=False, message=f"{type(error).__name__}: {error}")
        if swarm.get("Error") or not swarm["ControlAvailable"]:
            return Health(
                ok=False, message=f"the engine is no manager of a swarm: {swarm.get('Error') or 'it has left'}"
            )
        return Health(ok=True)


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
        return any(_is_of(ref, identity_of_task(task)) for task in self._orphans)


def _is_of(ref: JobRef, identity: Identity | None) -> bool:
    return identity is not None and (identity.jid, identity.generation) == (ref.jid, ref.generation)
