"""From one task of a swarm to what pman says of that worker of the job. Pure.

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
shutdown               any       ended by itself before Swarm ended     FAILED by its exit code; see ``_own_end``
                                 it, as on a node that did not answer
shutdown               any       ended by Swarm on our request          CANCELLED, or FAILED with TIME_LIMIT
shutdown               shutdown  not on ours: node drained or away      FAILED, NODE_FAIL
shutdown               shutdown  another one runs in its place          CANCELLED: an administrator did that
shutdown               remove    scaled away by an administrator        CANCELLED
remove                 any       the same, later                        CANCELLED
orphaned               any       its node was removed from the swarm    FAILED, NODE_FAIL
=====================  ========  =====================================  =============================================

``failed`` is read by ``Err``: ``ExitCode`` is 0 for a task that lost its container. So it is for one whose container
was made and has not begun, and it is -1 while Swarm ends one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from backends._engine.state import UNSEEN_CODE, describe_end, moment
from backends._exit_codes import KILLED, reason_of
from backends._swarm.endings import Ending
from backends._swarm.nodes import Away, Nodes
from backends._swarm.task import (
    ENDS,
    PLACED,
    UNPLACED,
    WITHDRAWN,
    Task,
    container_of,
    exit_code,
    is_on_node,
    is_puzzling,
    memory_bytes,
)
from pman_core.states import Reason, State

NO_IMAGE, LOST_CONTAINER = "No such image", "No such container"


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
class Facts:
    """What is known beside the tasks themselves."""

    nodes: Nodes = field(default_factory=lambda: Nodes({}))
    oom: Mapping[str, bool] = field(default_factory=dict)
    """By container, of those that could be looked at: whether it was killed for want of memory."""
    been_away: Mapping[str, str] = field(default_factory=dict)
    """By task, of those whose node was seen not to answer while they ran: what was told then."""
    replaced: frozenset[str] = frozenset()
    """The tasks in whose place there is another."""


def replica_of(task: Task, ending: Ending | None, facts: Facts) -> Replica:
    """Return how a worker is; ``ending``: what it was killed for, if it was killed."""
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


def killed_on_return(task: Task, facts: Facts) -> Ending | None:
    """Return why a replica was killed that ran when its node did not answer: an engine kills what it finds running."""
    message = facts.been_away.get(task["ID"])
    return Ending(Reason.NODE_FAIL, f"killed when its node was back: {message}", None) if message else None


def given_up(replica: Replica, ending: Ending | None) -> Replica:
    """Return the end of a replica whose node is lost: what runs there is not waited for."""
    away = replica.away
    at = away.since if away else None
    if ending:
        told = f"{ending.message}; {away}"
        return ended_by(replace(replica, finished_at=at), Ending(ending.reason, told, ending.at))
    return replace(replica, state=State.FAILED, reason=Reason.NODE_FAIL, message=str(away), finished_at=at)


def is_lost(replica: Replica) -> bool:
    """Whether its node has not answered for longer than the grace."""
    return replica.away is not None and replica.away.is_lost


def _end(task: Task, ended: Replica, ending: Ending | None, facts: Facts) -> Replica:
    """Return how a replica ended that Swarm does not run any more."""
    status = task["Status"]
    error, code = str(status.get("Err", "")), exit_code(task)
    ended = _with_times(task, ended)
    # It is 0 for a task that never ran, or that lost its container: then nobody knows.
    ended = replace(ended, exit_code=_told_code(task))
    if _own_end(task):
        return _failed(task, ended, facts)
    if ending and _is_by_request(ended.native, code, error):
        return _with_doubt(task, ended_by(ended, ending))
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
        case "shutdown" if task["ID"] in facts.replaced:
            message = "ended by an administrator, who has changed its service: it is run again"
            return replace(ended, state=State.CANCELLED, reason=Reason.CANCELLED, message=message)
        case "shutdown" if task["DesiredState"] != "remove":
            message = "ended by Swarm: its node was drained, or did not answer for a while"
            return _with_doubt(task, replace(ended, reason=Reason.NODE_FAIL, message=message))
    message = "withdrawn by an administrator"
    return replace(ended, state=State.CANCELLED, reason=Reason.CANCELLED, message=message)


def _told_code(task: Task) -> int | None:
    """Return the exit code of a task's container; ``None``: nobody knows it, or it is 0."""
    code = int((task["Status"].get("ContainerStatus") or {}).get("ExitCode", 0))
    return code if code > 0 else None


def _own_end(task: Task) -> bool:
    """Whether a task that Swarm has ended had ended by itself: what Swarm ends is killed, see ``StopSignal``."""
    return task["Status"]["State"] == "shutdown" and _told_code(task) not in {None, KILLED, UNSEEN_CODE}


def _with_doubt(task: Task, ended: Replica) -> Replica:
    """Return the end of a task as it is told, with what may be true as well: its container is not said to be killed."""
    if ended.reason is not Reason.NODE_FAIL or ended.native != "shutdown" or _told_code(task) or not container_of(task):
        return ended
    return replace(ended, message=f"{ended.message}; it may have ended by itself before, with exit code 0")


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


def ended_by(replica: Replica, ending: Ending) -> Replica:
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
            message = f"out of memory, the limit was {memory_bytes(task) // 2**20} MiB{hedge}"
            return replace(ended, reason=Reason.OOM_KILLED, message=message)
    return replace(ended, reason=reason_of(code), message=describe_end(code))


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
