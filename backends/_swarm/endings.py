"""Why a job was ended, and how it ended: what pman writes into the labels of its service, and reads there. Pure.

Tasks go, with their nodes or with Swarm's own memory; the service stays until pman removes it.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends._engine.labels import PREFIX, Labels
from backends._engine.state import handle_of, moment
from backends._identity import Identity
from pman_core.backend import Observed
from pman_core.states import Reason, State

ENDED = PREFIX + "ended"
"""Why and when we ended the job: see :func:`backends._swarm.service.ended`."""
FINAL = PREFIX + "final"
"""How the job ended, once and for all: written when what its tasks show may still change, see ``nodes``, or is not all:
what the engine of our own node has told of a kill."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why replicas were killed: we ended the job, or their node did not answer for a while."""

    reason: Reason
    message: str
    at: datetime | None


def ending_label(ending: Ending) -> dict[str, str]:
    return {"reason": ending.reason, "message": ending.message, "at": ending.at.isoformat() if ending.at else "0001-"}


def ending_of(labels: Labels) -> Ending | None:
    """Return what :func:`ending_label` wrote."""
    data = read_label(labels, ENDED)
    if not data:
        return None
    return Ending(Reason(data["reason"]), str(data["message"]), moment(data["at"]))


def final_label(observed: Observed) -> dict[str, Any]:
    """Return the end of a job so that it can be told again, whatever its tasks say."""
    return {
        "state": observed.state,
        "native": observed.native_state,
        "message": observed.message,
        "reason": observed.reason,
        "exit_code": observed.exit_code,
        "started_at": observed.started_at.isoformat() if observed.started_at else None,
        "finished_at": observed.finished_at.isoformat() if observed.finished_at else None,
    }


def final_of(identity: Identity, service_id: str, labels: Labels) -> Observed | None:
    """Return what :func:`final_label` wrote."""
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


def read_label(labels: Labels, name: str) -> dict[str, Any]:
    """Return the JSON object of a label of ours; an empty one if it is not there, or not readable."""
    try:
        value = json.loads(labels.get(name, ""))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
