"""From what a swarm shows of a service and its tasks to what pman says of the job. Pure.

The states: https://docs.docker.com/engine/swarm/how-swarm-mode-works/swarm-task-states/, and their fields:
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Task (Status, DesiredState)

=====================  ========  =====================================  =============================================
native                 desired   what it is                             what pman says of the replica
=====================  ========  =====================================  =============================================
new allocated pending  running   no node yet; Err says why              PENDING with Err
new allocated pending  shutdown  told to end before it had a node       CANCELLED
assigned accepted      any       its node has it                        PENDING; its node is lost: FAILED, NODE_FAIL
preparing              any       its node fetches the image, makes it   as assigned
ready starting         any       it is made                             as assigned
running                any       even if its node does not answer       RUNNING; its node is lost: FAILED, NODE_FAIL
complete               any       exit code 0                            SUCCEEDED
failed                 any       ``task: non-zero exit (N)``            FAILED by N; 137 after our kill, or after its
                                                                        node was away: as shutdown
failed                 any       ``starting container failed``          FAILED, START_FAILED
failed                 any       ``No such container``: the engine was  FAILED, NODE_FAIL
                                 restarted, and removed it
rejected               any       ``No such image``                      FAILED, IMAGE_PULL
rejected               any       anything else                          FAILED, REJECTED
shutdown               any       ended by Swarm on our request          CANCELLED, or FAILED with TIME_LIMIT
shutdown               any       not on ours: node drained or away      FAILED, NODE_FAIL
remove                 any       scaled away by an administrator        CANCELLED
orphaned               any       its node was removed from the swarm    FAILED, NODE_FAIL
=====================  ========  =====================================  =============================================

``failed`` is read by ``Err``: ``ExitCode`` is 0 for a task that lost its container.

Several replicas are one job: RUNNING as long as one runs (or some have ended while others wait), then FAILED by the
first that failed, else CANCELLED, else SUCCEEDED. A failed replica does not end the others. A job that pman has ended
is told so, whatever else its replicas did.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from backends._engine.labels import identity_of
from backends._engine.state import handle_of, moment
from backends._engine.swarm_nodes import Away, Nodes
from backends._engine.swarm_service import ENDED, FINAL, NOWHERE, read_label
from backends._exit_codes import KILLED, describe_exit, reason_of
from backends._identity import Identity
from pman_core.backend import Observed, Sighting, Unknown
from pman_core.states import TERMINAL, Reason, State

Service = Mapping[str, Any]
Task = Mapping[str, Any]

UNPLACED = frozenset({"new", "allocated", "pending"})
PLACED = frozenset({"assigned", "accepted", "preparing", "ready", "starting"})
ENDS = frozenset({"complete", "failed", "rejected", "shutdown", "remove", "orphaned"})
WITHDRAWN = frozenset({"shutdown", "remove"})
NO_IMAGE, LOST_CONTAINER = "No such image", "No such container"
NONZERO = re.compile(r"non-zero exit \((\d+)\)")
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Replica:
    """One worker of the job."""

    slot: int
    state: State
    native: str
    message: str = ""
    reason: Reason | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    away: Away | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """Why replicas were killed: we ended the job, or their node did not answer for a while."""

    reason: Reason
    message: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Looked:
    """How a job is."""

    sighting: Sighting
    must_be_kept: bool = False
    """It is an end that its tasks do not tell, or not for ever: to be written down before it is told."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the tasks themselves."""

    nodes: Nodes = field(default_factory=lambda: Nodes({}))
    oom: Mapping[str, bool] = field(default_factory=dict)
    """By container, of those that could be looked at: whether it was killed for want of memory."""
    been_away: Mapping[str, str] = field(default_factory=dict)
    """By task, of those whose node was seen not to answer while they ran: what was told then."""


def observed_from(service: Service, tasks: Iterable[Task], facts: Facts) -> Looked:
    """Return how the job of a service is."""
    spec = service["Spec"]
    labels = spec["Labels"]
    identity = identity_of(labels)
    if identity is None:
        raise ValueError("not a service of pman")
    if final := _final(identity, service["ID"], labels):
        return Looked(final)
    ending = ending_of(labels)
    wanted = int(spec["Mode"]["Replicated"]["Replicas"])
    all_tasks = list(tasks)
    real = real_tasks(all_tasks)
    try:
        shown = [_replica(task, ending, facts) for task in real]
        replicas = [_replica(task, ending or _killed_on_return(task, facts), facts) for task in real]
    except (KeyError, ValueError) as error:
        return Looked(Unknown(f"a task of the service cannot be understood: {error!r}"))
    is_remembered = shown != replicas
    if ending and len(all_tasks) > len(real):
        # Swarm has taken note of the end; replicas that it had not made by then will never be.
        missing = set(range(1, wanted + 1)) - {replica.slot for replica in replicas}
        replicas += [_ended(Replica(slot, State.CANCELLED, "shutdown"), ending) for slot in sorted(missing)]
    if not replicas and not wanted:
        at = moment(service["UpdatedAt"])
        message = "the service was scaled to 0 by an administrator"
        replicas = [Replica(1, State.CANCELLED, "remove", message, Reason.CANCELLED, finished_at=at)]
    return _job(identity, service, replicas, wanted, ending, is_remembered=is_remembered)


def real_tasks(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that are the job, by replica: of several the first, and none of those that wait for no node."""
    first: dict[int, Task] = {}
    for task in sorted(tasks, key=lambda task: moment(task["CreatedAt"]) or FOREVER):
        if NOWHERE not in (task["Spec"].get("Placement", {}).get("Constraints") or ()):
            first.setdefault(int(task.get("Slot", 0)), task)
    return [first[slot] for slot in sorted(first)]


def identity_of_task(task: Task) -> Identity | None:
    """Return whose a task is, even if its service is gone."""
    return identity_of(task["Spec"]["ContainerSpec"].get("Labels"))


def is_on_node(task: Task) -> bool:
    """Whether a task depends on its node now."""
    return task["Status"]["State"] in PLACED | {"running"}


def is_puzzling(task: Task) -> bool:
    """Whether only its container can tell if a task was killed for want of memory."""
    return _exit_code(task) == KILLED and _memory_bytes(task) > 0


def container_of(task: Task) -> str:
    """Return the id of a task's container; ``""`` if it never had one."""
    return str((task["Status"].get("ContainerStatus") or {}).get("ContainerID", ""))


def ending_of(labels: Mapping[str, str]) -> Ending | None:
    """Return what :func:`ending_label` wrote."""
    data = read_label(labels, ENDED)
    if not data:
        return None
    return Ending(Reason(data["reason"]), str(data["message"]), moment(data["at"]))


def _killed_on_return(task: Task, facts: Facts) -> Ending | None:
    """Return why a replica was killed that ran when its node did not answer: an engine kills what it finds running."""
    message = facts.been_away.get(task["ID"])
    return Ending(Reason.NODE_FAIL, f"killed when its node was back: {message}", None) if message else None


def ending_label(ending: Ending) -> dict[str, str]:
    return {"reason": ending.reason, "message": ending.message, "at": ending.at.isoformat() if ending.at else "0001-"}


def final_label(observed: Observed) -> dict[str, Any]:
    """Return the end of a job so that :func:`observed_from` tells it again, whatever its tasks say."""
    return {
        "state": observed.state,
        "native": observed.native_state,
        "message": observed.message,
        "reason": observed.reason,
        "exit_code": observed.exit_code,
        "started_at": observed.started_at.isoformat() if observed.started_at else None,
        "finished_at": observed.finished_at.isoformat() if observed.finished_at else None,
    }


def _final(identity: Identity, service_id: str, labels: Mapping[str, str]) -> Observed | None:
    data = read_label(labels, FINAL)
    if not data:
        return None
    started_at, finished_at = data["started_at"], data["finished_at"]
    return Observed(
        identity.jid,
        identity.generation,
        identity.digest,
        State(data["state"]),
        handle_of(service_id),
        native_state=data["native"],
        message=data["message"],
        reason=Reason(data["reason"]) if data["reason"] else None,
        exit_code=data["exit_code"],
        started_at=moment(started_at) if started_at else None,
        finished_at=moment(finished_at) if finished_at else None,
    )


# One replica


def _replica(task: Task, ending: Ending | None, facts: Facts) -> Replica:
    status = task["Status"]
    native, at = status["State"], moment(status["Timestamp"])
    slot = int(task.get("Slot", 0))
    away = facts.nodes.away(task["NodeID"]) if is_on_node(task) and facts.nodes.by_id else None
    if native == "running":
        return Replica(slot, State.RUNNING, native, str(away or ""), started_at=at, away=away)
    if native in PLACED:
        if away and away.is_lost:  # it may well have begun to run, for all that can be known
            return Replica(slot, State.RUNNING, native, str(away), away=away)
        hint = "its node makes it ready, and fetches the image if need be" if native == "preparing" else ""
        return Replica(slot, State.PENDING, native, str(away or hint), away=away)
    if native in UNPLACED and task["DesiredState"] not in WITHDRAWN:
        return Replica(slot, State.PENDING, native, _waiting(task))
    if native not in UNPLACED | ENDS:
        raise ValueError(native)
    return _end(task, Replica(slot, State.FAILED, native, finished_at=at), ending, facts)


def _end(task: Task, ended: Replica, ending: Ending | None, facts: Facts) -> Replica:
    """Return how a replica ended that Swarm does not run any more."""
    status = task["Status"]
    error, code = str(status.get("Err", "")), _exit_code(task)
    ended = _with_times(task, ended)
    # It is 0 for a task that never ran, or that lost its container: then nobody knows.
    ended = replace(ended, exit_code=int((status.get("ContainerStatus") or {}).get("ExitCode", 0)) or None)
    if ending and _is_by_request(ended.native, code, error):
        return _ended(ended, ending)
    match ended.native:
        case "complete":
            return replace(ended, state=State.SUCCEEDED, exit_code=0)
        case "failed" if code is not None:
            return _failed(task, replace(ended, exit_code=code), facts)
        case "failed" | "rejected":
            reason = _reason_of(ended.native, error)
            if reason is not Reason.NODE_FAIL:  # it never began
                ended = replace(ended, started_at=None)
            return replace(ended, reason=reason, message=_with_hint(error), exit_code=None)
        case "orphaned":
            message = f"its node {task.get('NodeID', '')} was removed from the swarm"
            return replace(ended, reason=Reason.NODE_FAIL, message=message)
        case "shutdown":
            message = "ended by Swarm: its node was drained, or did not answer for a while"
            return replace(ended, reason=Reason.NODE_FAIL, message=message)
    message = "withdrawn by an administrator"
    return replace(ended, state=State.CANCELLED, reason=Reason.CANCELLED, message=message)


def _with_times(task: Task, ended: Replica) -> Replica:
    if not container_of(task):
        return replace(ended, finished_at=None) if ended.native in UNPLACED else ended
    begun = moment(task["CreatedAt"])
    # The manager's clock and the node's.
    at = max(begun, ended.finished_at) if begun and ended.finished_at else ended.finished_at
    return replace(ended, started_at=begun, finished_at=at)


def _is_by_request(native: str, code: int | None, error: str) -> bool:
    """Whether a replica may have ended because we asked for it; any other end it had before."""
    if native == "failed":
        return code == KILLED or LOST_CONTAINER in error
    return native not in {"complete", "rejected"}


def _ended(replica: Replica, ending: Ending) -> Replica:
    """Return a replica that ended because we ended the job."""
    state = State.CANCELLED if ending.reason is Reason.CANCELLED else State.FAILED
    finished_at = replica.finished_at or ending.at
    return replace(replica, state=state, reason=ending.reason, message=ending.message, finished_at=finished_at)


def _failed(task: Task, ended: Replica, facts: Facts) -> Replica:
    code = ended.exit_code or 0
    if is_puzzling(task):
        known = facts.oom.get(container_of(task))
        if known is not False:
            # Not told from the engine's being restarted, which kills what it finds: that is much more seldom.
            hedge = "" if known else ", as far as Swarm lets one tell"
            message = f"out of memory, the limit was {_memory_bytes(task) // 2**20} MiB{hedge}"
            return replace(ended, reason=Reason.OOM_KILLED, message=message)
    return replace(ended, reason=reason_of(code), message=describe_exit(code))


def _reason_of(native: str, error: str) -> Reason:
    if native == "failed":
        return Reason.NODE_FAIL if LOST_CONTAINER in error else Reason.START_FAILED
    return Reason.IMAGE_PULL if error.startswith(NO_IMAGE) else Reason.REJECTED


def _with_hint(error: str) -> str:
    if "invalid mount config" in error:
        return f"its node does not see a folder that pman sees; has every node the same STOREBASE? {error}"
    if LOST_CONTAINER in error:
        return f"its engine was restarted, and has lost it: {error}"
    if error.startswith(NO_IMAGE):
        return f"{error} (its node could not fetch it; its log says why)"
    return error


def _waiting(task: Task) -> str:
    error = str(task["Status"].get("Err", ""))
    if "insufficient resources" not in error:
        return error
    reserved = task["Spec"].get("Resources", {}).get("Reservations", {})
    parts = [f"{reserved['NanoCPUs'] / 1e9:g} CPUs"] if "NanoCPUs" in reserved else []
    parts += [f"{reserved['MemoryBytes'] // 2**20} MiB"] if "MemoryBytes" in reserved else []
    for resource in reserved.get("GenericResources") or ():
        parts += [f"{kind['Value']} {kind['Kind']}" for kind in resource.values()]
    return f"{error}; it asks for {', '.join(parts)} on one node"


def _exit_code(task: Task) -> int | None:
    """Return the exit code of a task that failed by one."""
    if task["Status"]["State"] != "failed":
        return None
    match = NONZERO.search(str(task["Status"].get("Err", "")))
    return int(match[1]) if match else None


def _memory_bytes(task: Task) -> int:
    return int(task["Spec"].get("Resources", {}).get("Limits", {}).get("MemoryBytes", 0))


# All of them


def _job(
    identity: Identity,
    service: Service,
    replicas: Sequence[Replica],
    wanted: int,
    ending: Ending | None,
    *,
    is_remembered: bool,
) -> Looked:
    started_at = min((replica.started_at for replica in replicas if replica.started_at), default=None)

    def observed(state: State, message: str, **more: Any) -> Observed:
        return Observed(
            identity.jid,
            identity.generation,
            identity.digest,
            state,
            handle_of(service["ID"]),
            native_state=_native(replicas),
            message=message,
            started_at=started_at,
            **more,
        )

    waiting = [replica for replica in replicas if replica.state is State.PENDING]
    running = [replica for replica in replicas if replica.state is State.RUNNING]
    ended = [replica for replica in replicas if replica.state in TERMINAL]
    if len(waiting) == len(replicas):
        message = next((_of(replica, wanted) for replica in waiting if replica.message), "")
        return Looked(observed(State.PENDING, message))
    if waiting or len(replicas) < wanted or any(not _is_lost(replica) for replica in running):
        return Looked(observed(State.RUNNING, _progress(replicas, wanted)))
    ended += [_given_up(replica, ending) for replica in running]
    decisive = _decisive(ended, ending)
    finished = [replica.finished_at for replica in ended if replica.finished_at]
    sighting = observed(
        decisive.state,
        _of(decisive, wanted),
        reason=decisive.reason,
        exit_code=decisive.exit_code,
        finished_at=max(finished, default=None),
    )
    return Looked(sighting, must_be_kept=bool(running) or is_remembered)


def _decisive(ended: Sequence[Replica], ending: Ending | None) -> Replica:
    """Return the replica that the whole job is told by."""

    def rank(replica: Replica) -> tuple[bool, bool, bool, datetime, int]:
        by_us = ending is not None and replica.reason is ending.reason
        is_failed, is_cancelled = replica.state is State.FAILED, replica.state is State.CANCELLED
        return not by_us, not is_failed, not is_cancelled, replica.finished_at or FOREVER, replica.slot

    return min(ended, key=rank)


def _given_up(replica: Replica, ending: Ending | None) -> Replica:
    away = replica.away
    at = away.since if away else None
    if ending:
        told = f"{ending.message}; {away}"
        return _ended(replace(replica, finished_at=at), Ending(ending.reason, told, ending.at))
    return replace(replica, state=State.FAILED, reason=Reason.NODE_FAIL, message=str(away), finished_at=at)


def _is_lost(replica: Replica) -> bool:
    return replica.away is not None and replica.away.is_lost


def _progress(replicas: Sequence[Replica], wanted: int) -> str:
    told = [replica for replica in replicas if replica.message and replica.state is not State.SUCCEEDED]
    return "; ".join(_of(replica, wanted) for replica in told[:3])


def _of(replica: Replica, wanted: int) -> str:
    if wanted <= 1 or not replica.message:
        return replica.message
    return f"worker {replica.slot} of {wanted}: {replica.message}"


def _native(replicas: Sequence[Replica]) -> str:
    counts = Counter(replica.native for replica in replicas)
    if len(replicas) <= 1:
        return next(iter(counts), "new")
    return ", ".join(f"{count} {native}" for native, count in counts.items())
