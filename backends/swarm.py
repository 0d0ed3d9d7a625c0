"""Runs each job as a service of a Docker swarm; its workers are the replicas of the service.

Docker Engine API 1.41 (Docker 20.10) and later: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service
What a service, a task and a slot are: https://github.com/moby/swarmkit/blob/master/design/task_model.md

* A service starts by itself and its creation is atomic: a job is never half submitted.
* Swarm announces nothing about tasks, so it is polled: one list of tasks, one of services, and one of nodes as long as
  anything runs, for any number of jobs. A job itself costs four calls: create, log (which looks for its task), delete;
  and a few more if it is killed: how it ended is then asked for and written down, see :mod:`backends._swarm.endings`.
* A task has one time, that of its last change. So a job that runs tells when it began, and one that has ended when it
  was made.
* What ends a job and keeps its object: see :func:`backends._swarm.service.ended`. When a node is given up: see
  :mod:`backends._swarm.nodes`.
* What pman asks Swarm to set aside for a job is its limits, so a job that fits nowhere waits, and its message says why.
* Nodes fetch images themselves; the credentials for that are those of pman's own ``~/.docker/config.json``.
* A service has no switch for swap: beside its memory limit a job may have as much swap again, where a node has any.
  ``no-new-privileges`` is set from API 1.44 on, older engines cannot.
* ``STORAGE_TYPE=docker_local_volume``: a volume belongs to one engine, so jobs run on the node that pman speaks to.
  ``nfs``: Swarm leaves one empty anonymous volume on the node for each of the two mounts (``docker volume prune``).
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from backends._engine.base import EngineBackend
from backends._engine.client import connect, translated
from backends._engine.errors import Doing, NameTaken, NotThere, OutOfDate
from backends._engine.labels import Labels, identity_of, of_instance, overdue_message, spec_of
from backends._engine.mounts import storage_of
from backends._engine.settings import DOCKER_SOCKET, EngineSettings, tls_folder
from backends._engine.state import HANDLE_VERSION, handle_of
from backends._engine.volumes import find_volume
from backends._identity import Identity
from backends._swarm.endings import ENDED, FINAL, Ending, ending_label, final_label
from backends._swarm.logs import logs_of
from backends._swarm.nodes import Nodes, nodes_by_id
from backends._swarm.service import Service, build_resources, build_service, ended
from backends._swarm.state import Looked, observed_from
from backends._swarm.survey import Survey, Surveyor, is_of
from backends._swarm.task import real_tasks
from pman_core.backend import (
    Absent,
    Capabilities,
    Handle,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
)
from pman_core.errors import Conflict, Rejected, Unavailable
from pman_core.job import JobSpec, native_name
from pman_core.settings import Names
from pman_core.settings import Settings as CommonSettings
from pman_core.states import TERMINAL, Reason

log = logging.getLogger(__name__)

UPDATES_MAX = 10
"""An update is refused if the service has changed since it was read; Swarm itself changes one two or three times."""


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
        self._surveyor = Surveyor(common.pman_instance, own.node_lost_grace_s)
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
        node_id = self._surveyor.node_id = swarm["NodeID"]
        self.capabilities = self._capabilities(has_gpus=self._has_gpus(nodes))
        volume = find_volume(client, self.common)
        if volume is not None:
            self._constraints = (*self.own.swarm_constraints, f"node.id=={node_id}")
            log.info("volume %s is on node %s: all jobs run there", volume.name, node_id)
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
        survey = self._surveyor.take(self._engine, refs[0].generation if len(refs) == 1 else "")
        return {(ref.jid, ref.generation): self._sight(ref, survey) for ref in refs}

    def owned(self) -> Iterator[Owned]:
        survey = self._surveyor.take(self._engine)
        for service, tasks in survey.jobs.values():
            sighting = self._settled(service, observed_from(service, tasks, survey.facts))
            if isinstance(sighting, Observed):
                yield Owned(sighting, spec_of(service["Spec"]["Labels"]))

    def _sight(self, ref: JobRef, survey: Survey) -> Sighting:
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
        tasks = real_tasks(task for task in listed if is_of(task, ref))
        return logs_of(self._engine, tasks, tail_lines, max_bytes)

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
            survey = self._surveyor.take(self._engine, generation)
            job = survey.jobs.get((jid, generation))
            if job is None:
                return
            service, tasks = job
            looked = observed_from(service, tasks, survey.facts)
            has_ended = isinstance(looked.sighting, Observed) and looked.sighting.state in TERMINAL
            labels = service["Spec"]["Labels"]
            if (has_ended and not looked.may_live) or ENDED in labels:
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

    def _trouble(self) -> str:
        with translated(Doing.ASK):
            swarm = self._engine.info()["Swarm"]
        if not swarm.get("Error") and swarm["ControlAvailable"]:
            return ""
        return f"the engine is no manager of a swarm: {swarm.get('Error') or 'it has left'}"
