"""From what a swarm shows of a service and its tasks to what pman says of the job. Pure.

Several replicas are one job: RUNNING as long as one runs (or some have ended while others wait), then FAILED by the
first that failed, else CANCELLED, else SUCCEEDED. A failed replica does not end the others. A job that pman has ended
is told so, whatever else its replicas did.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from backends._engine.labels import identity_of
from backends._engine.state import handle_of, moment
from backends._identity import Identity
from backends._swarm.endings import Ending, ending_of, final_of
from backends._swarm.replica import Facts, Replica, ended_by, given_up, is_lost, killed_on_return, replica_of
from backends._swarm.service import Service
from backends._swarm.task import FOREVER, Task, real_tasks, replaced
from pman_core.backend import Observed, Sighting, Unknown
from pman_core.states import TERMINAL, Reason, State


@dataclass(frozen=True, slots=True)
class Looked:
    """How a job is."""

    sighting: Sighting
    must_be_kept: bool = False
    """It is an end that its tasks do not tell, or not for ever: to be written down before it is told."""
    may_live: bool = False
    """It is an end because a node is lost: what runs there may run on."""


def observed_from(service: Service, tasks: Iterable[Task], facts: Facts) -> Looked:
    """Return how the job of a service is."""
    spec = service["Spec"]
    labels = spec["Labels"]
    identity = identity_of(labels)
    if identity is None:
        raise ValueError("not a service of pman")
    if final := final_of(identity, service["ID"], labels):
        return Looked(final)
    ending = ending_of(labels)
    wanted = int(spec["Mode"]["Replicated"]["Replicas"])
    all_tasks = list(tasks)
    real = real_tasks(all_tasks)
    facts = replace(facts, replaced=replaced(all_tasks, real))
    try:
        shown = [replica_of(task, ending, replace(facts, oom={})) for task in real]
        replicas = [replica_of(task, ending or killed_on_return(task, facts), facts) for task in real]
    except (KeyError, ValueError) as error:
        return Looked(Unknown(f"a task of the service cannot be understood: {error!r}"))
    is_remembered = shown != replicas
    if ending and len(all_tasks) > len(real):
        # Swarm has taken note of the end; replicas that it had not made by then will never be.
        missing = set(range(1, wanted + 1)) - {replica.slot for replica in replicas}
        replicas += [ended_by(Replica(slot, State.CANCELLED, "shutdown"), ending) for slot in sorted(missing)]
    if not replicas and not wanted:
        at = moment(service["UpdatedAt"])
        message = "the service was scaled to 0 by an administrator"
        replicas = [Replica(1, State.CANCELLED, "remove", message, Reason.CANCELLED, finished_at=at)]
    return _job(identity, service, replicas, wanted, ending, is_remembered=is_remembered)


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
    if waiting or len(replicas) < wanted or any(not is_lost(replica) for replica in running):
        return Looked(observed(State.RUNNING, _progress(replicas, wanted)))
    ended += [given_up(replica, ending) for replica in running]
    decisive = _decisive(ended, ending)
    finished = [replica.finished_at for replica in ended if replica.finished_at]
    sighting = observed(
        decisive.state,
        _of(decisive, wanted),
        reason=decisive.reason,
        exit_code=decisive.exit_code,
        finished_at=max(finished, default=None),
    )
    return Looked(sighting, must_be_kept=bool(running) or is_remembered, may_live=bool(running))


def _decisive(ended: Sequence[Replica], ending: Ending | None) -> Replica:
    """Return the replica that the whole job is told by."""

    def rank(replica: Replica) -> tuple[bool, bool, bool, datetime, int]:
        by_us = ending is not None and replica.reason is ending.reason
        is_failed, is_cancelled = replica.state is State.FAILED, replica.state is State.CANCELLED
        return not by_us, not is_failed, not is_cancelled, replica.finished_at or FOREVER, replica.slot

    return min(ended, key=rank)


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
