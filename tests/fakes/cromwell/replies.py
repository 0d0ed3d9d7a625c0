"""Answers in the forms that were recorded: data compact, errors pretty-printed with their `status`, or plain text."""

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

NOT_FOUND = "The requested resource could not be found."


@dataclass(frozen=True)
class Reply:
    """One answer; a ``str`` is plain text."""

    body: Any
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    may_be_compressed: bool = False


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body)
        self.reply = reply


@dataclass(frozen=True)
class Pretty:
    """JSON over several lines."""

    value: Any


def fail(message: str, code: int = 400, status: str = "fail", **more: Any) -> Refused:
    return Refused(Reply(Pretty({"status": status, "message": message} | more), code))


def plain(text: str, code: int) -> Refused:
    return Refused(Reply(text, code))


def malformed(why: str) -> Refused:
    return plain(f"The request content was malformed:\n{why}", 400)


def no_such_path() -> Refused:
    return plain(NOT_FOUND, 404)


def unrecognized(workflow_id: str) -> Refused:
    return fail(f"Unrecognized workflow ID: {workflow_id}", 404)


def not_in_progress(workflow_id: str) -> Refused:
    return fail(f"Couldn't abort {workflow_id} because no workflow with that ID is in progress", 404, "error")


def in_use(workflow_id: str) -> Refused:
    return fail(f"Requested workflow IDs are already in use: {workflow_id}")


def lost_race() -> Refused:
    """Two requests with the same id at the same moment."""
    why = (
        "integrity constraint violation: unique constraint or index violation;"
        " UC_WORKFLOW_STORE_ENTRY_WEU table: WORKFLOW_STORE_ENTRY"
    )
    return fail(why, errors=[f"HsqlException: {why}"])


def too_large(size: int, limit: int) -> Refused:
    message = (
        f"EntityStreamSizeException: incoming entity size ({size}) exceeded size limit ({limit} bytes)! This may have"
        " been a parser limit (set via `akka.http.[server|client].parsing.max-content-length`), a decoder limit"
        " (set via `akka.http.routing.decode-max-size`), or a custom limit set with `withSizeLimit`."
    )
    return Refused(Reply(Pretty({"status": "fail", "message": message}), 500, {"Connection": "close"}))


def parse_id(text: str) -> str:
    """Read a UUID as Java does, which takes ``1-2-3-4-5`` and answers with the whole of it, in lower case.

    Raises:
        ValueError: it is none.
    """
    groups = text.split("-")
    if len(groups) != 5 or not all(re.fullmatch("[0-9a-fA-F]{1,16}", group) for group in groups):
        raise ValueError(text)
    widths = (8, 4, 4, 4, 12)
    return str(uuid.UUID("".join(group[-width:].zfill(width) for group, width in zip(groups, widths, strict=True))))


def spray_error(text: str) -> str:
    """Say what is wrong with a JSON text, in the words of the JSON library that Cromwell uses."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        at, line, column = error.pos, error.lineno, error.colno
        expected = "'\"'" if "property name" in error.msg else "JSON Value"
        what = f"character '{text[at]}'" if at < len(text) else "end-of-input"
        shown = text.splitlines()[line - 1] if text else ""
        where = f"at input index {at} (line {line}, position {column})"
        return f"Unexpected {what} {where}, expected {expected}:\n{shown}\n{' ' * (column - 1)}^\n"
    return ""
