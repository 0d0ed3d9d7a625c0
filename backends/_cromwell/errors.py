"""What the server's refusals mean. Pure: a table, tested on replies that a real Cromwell 92 has given.

https://cromwell.readthedocs.io/en/stable/api/RESTAPI/
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pman_core.errors import BackendError, Conflict, Rejected, Unavailable, Unparseable
from pman_core.states import Reason

MESSAGE_CHARS_MAX = 600


class Doing(Enum):
    """What was asked for: the same code does not mean the same everywhere."""

    ASK = "ask"
    SUBMIT = "submit"
    ABORT = "abort"


class IdTaken(Conflict):
    """A workflow of this id is there, perhaps this very one: look."""


class NotThere(Unavailable):
    """The server knows no such workflow; of one that was submitted seconds ago it says the same."""


class NotInProgress(Unavailable):
    """There is nothing to abort: the workflow has ended, or there never was one."""


@dataclass(frozen=True, slots=True)
class Row:
    """If all of this matches, the error is ``meaning(message)``. Empty sets match everything."""

    doing: frozenset[Doing]
    codes: frozenset[int]
    pattern: re.Pattern[str]
    meaning: Callable[[str], BackendError]


def _row(doing: str, codes: str, pattern: str, meaning: Callable[[str], BackendError]) -> Row:
    return Row(
        frozenset(Doing(word) for word in doing.split()),
        frozenset(map(int, codes.split())),
        re.compile(pattern),
        meaning,
    )


def _rejected(message: str) -> BackendError:
    return Rejected(message, Reason.REJECTED)


def _no_cromwell(message: str) -> BackendError:
    return Unavailable(f"CROMWELL_URL does not lead to the API of a Cromwell server: {message}")


TABLE = (
    # Two texts of one fact: twelve clients at once got one 201, ten of the first and one of the second.
    _row("submit", "400", "already in use", IdTaken),
    _row("submit", "400", "UC_WORKFLOW_STORE_ENTRY_WEU", IdTaken),
    _row("submit", "400", "", _rejected),
    # 500, and the connection is closed, where HTTP has 413.
    _row("submit", "413", "", _rejected),
    _row("submit", "500", "EntityStreamSizeException", _rejected),
    _row("abort", "404", "no workflow with that ID is in progress", NotInProgress),
    _row("ask", "404", "Unrecognized workflow ID", NotThere),
    _row("", "404 405 415", "", _no_cromwell),
    # What stands in front of the server wants to know who we are; whoever runs it can change that, so jobs wait.
    _row("", "401 403 407", "", Unavailable),
    _row("", "408 425 429", "", Unavailable),
)
"""The first row that matches counts. Any other 5xx is over when the server or its database is well again."""


def explain(doing: Doing, code: int, body: bytes) -> BackendError:
    """Return the error that a reply means."""
    message = message_of(body) or f"HTTP {code}"
    for row in TABLE:
        if (not row.doing or doing in row.doing) and code in row.codes and row.pattern.search(message):
            return row.meaning(message)
    if code >= 500:
        return Unavailable(f"Cromwell answers HTTP {code}: {message}")
    return Unparseable(f"Cromwell answered HTTP {code} to {doing.value}: {message}", message)


def message_of(body: bytes) -> str:
    """Return what a refusal says, as one line, cut, without the inputs that it may quote."""
    try:
        reply: Any = json.loads(body)
    except ValueError:
        reply = None
    is_ours = isinstance(reply, dict) and isinstance(reply.get("message"), str)
    text = reply["message"] if is_ours else body[: 4 * MESSAGE_CHARS_MAX].decode(errors="replace")
    text = re.sub(r"(?s)Inputs data: '.*?'\. Error", "Error", text)
    return " ".join(text.split())[:MESSAGE_CHARS_MAX]
