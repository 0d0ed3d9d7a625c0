"""What the server tells of workflows, read. Pure; tested on replies that a real Cromwell 92 has given.

https://cromwell.readthedocs.io/en/stable/api/RESTAPI/
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from backends._identity import Identity
from pman_core.errors import Unparseable

INSTANCE, JID, GENERATION, DIGEST = "pman-instance", "pman-jid", "pman-generation", "pman-digest"
"""The labels that say whose a workflow is."""
TERMINAL_STATUSES = frozenset({"Succeeded", "Failed", "Aborted"})
LISTED_STATUSES = ("Submitted", "Running", "Aborting")
"""What has not ended; what is On Hold, by somebody's hand, too. ``Aborting`` may last: the abort is carried out by a
scan, and the call may yet be handed to the batch system before it."""
CHAIN_DEPTH_MAX = 20

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Workflow:
    """One line of a query."""

    id: str
    status: str
    """``""`` of one that the server has summarized before its first status: it has not ended."""
    labels: Mapping[str, str]
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def identity(self) -> Identity | None:
        """Whose it is; ``None`` if it is not pman's."""
        found = [self.labels.get(key, "") for key in (JID, GENERATION, INSTANCE, DIGEST)]
        return Identity(*found) if all(found) else None


@dataclass(frozen=True, slots=True)
class Account:
    """What the metadata of an ended workflow say of how it went."""

    status: str
    messages: tuple[str, ...] = ()
    """Why it failed, from the outermost to the innermost cause."""
    return_code: int | None = None
    """Of the call. Not always one that a process had."""
    native_id: str = ""
    """The id that the site's batch system gave to the call; empty if it never took it."""
    stdout: str = ""
    stderr: str = ""
    workflow_root: str = ""
    """The execution folder of the workflow."""
    started_at: datetime | None = None
    ended_at: datetime | None = None


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a reply.

    Raises:
        Unparseable: it is something else.
    """
    try:
        reply = json.loads(body)
    except ValueError as error:
        raise Unparseable(f"Cromwell answered no JSON: {error}", body[:200].decode(errors="replace")) from error
    if not isinstance(reply, dict):
        raise Unparseable("Cromwell answered JSON of an unknown shape", body[:200].decode(errors="replace"))
    return reply


def read_page(body: bytes) -> tuple[list[Workflow], int]:
    """Return one page of a query, and of how many workflows it is a page.

    Raises:
        Unparseable: it is none.
    """
    reply = read_object(body)
    try:
        return [_workflow(row) for row in reply["results"]], int(reply["totalResultsCount"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unparseable(f"Cromwell answered a query of an unknown shape: {error!r}", str(reply)[:200]) from error


def read_account(body: bytes) -> Account:
    """Return what the metadata of one workflow say.

    Raises:
        Unparseable: they are none.
    """
    reply = read_object(body)
    try:
        calls = [attempt for attempts in reply.get("calls", {}).values() for attempt in attempts]
        failures = [*reply.get("failures", ()), *(why for call in calls for why in call.get("failures", ()))]
        return Account(
            status=str(reply["status"]),
            messages=tuple(dict.fromkeys(_chain(failures))),
            return_code=_last(call.get("returnCode") for call in calls),
            native_id=str(_last(call.get("jobId") for call in calls) or ""),
            stdout=str(_last(call.get("stdout") for call in calls) or ""),
            stderr=str(_last(call.get("stderr") for call in calls) or ""),
            workflow_root=str(reply.get("workflowRoot", "")),
            started_at=_moment(reply.get("start")),
            ended_at=_moment(reply.get("end")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unparseable(f"Cromwell answered metadata of an unknown shape: {error!r}", str(reply)[:200]) from error


def read_abort(body: bytes) -> str:
    """Return the status that an abort has led to: ``Aborted`` (it never began) or ``Aborting``.

    Raises:
        Unparseable: it is neither.
    """
    status = str(read_object(body).get("status", ""))
    if status not in {"Aborted", "Aborting"}:
        raise Unparseable("Cromwell answered an abort with an unknown status", status)
    return status


def check_submitted(body: bytes, workflow_id: str) -> None:
    """Raise ``Unparseable`` if a reply does not say that this very workflow was taken."""
    if str(read_object(body).get("id", "")).lower() != workflow_id:
        raise Unparseable("Cromwell has not confirmed the submit", body[:200].decode(errors="replace"))


def _workflow(row: Mapping[str, Any]) -> Workflow:
    return Workflow(
        id=str(row["id"]).lower(),
        status=str(row.get("status") or ""),
        labels={str(key): str(value) for key, value in (row.get("labels") or {}).items()},
        submitted_at=_moment(row.get("submission")),
        started_at=_moment(row.get("start")),
        ended_at=_moment(row.get("end")),
    )


def _chain(failures: Iterable[Mapping[str, Any]], depth: int = 0) -> Iterator[str]:
    for failure in failures:
        if text := " ".join(str(failure.get("message", "")).split()):
            yield text
        if depth < CHAIN_DEPTH_MAX:
            yield from _chain(failure.get("causedBy", ()), depth + 1)


def _last(values: Iterable[Value | None]) -> Value | None:
    found = [value for value in values if value is not None]
    return found[-1] if found else None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
