"""What an engine's refusals mean. Pure: a table, tested on replies that real engines have given.

https://docs.docker.com/reference/api/engine/version/v1.41/#section/Errors tells the form; the texts are the
engine's own and not part of any contract, so what is not in the table is never guessed at.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pman_core.errors import BackendError, Conflict, ImageMissing, Rejected, Unavailable, Unparseable
from pman_core.states import Reason

MESSAGE_CHARS_MAX = 600


class Doing(Enum):
    """What was asked for: the same text does not mean the same everywhere."""

    ASK = "ask"
    CREATE = "create"
    START = "start"
    END = "end"
    PULL = "pull"


class NameTaken(Conflict):
    """The name is in use, perhaps by this very job: look."""


class NotThere(Unavailable):
    """The object that was asked about is not there (any more); with ``is_busy`` it is, in a state that forbids this."""

    def __init__(self, message: str, *, is_busy: bool = False) -> None:
        super().__init__(message)
        self.is_busy = is_busy


class OutOfDate(Unavailable):
    """The object has changed since it was read: read it again."""


@dataclass(frozen=True, slots=True)
class Row:
    """If all of this matches, the error is ``meaning(message)``."""

    doing: frozenset[Doing]
    statuses: range | frozenset[int]
    pattern: re.Pattern[str]
    meaning: Callable[[str, str], BackendError]


def _row(doing: str, statuses: range | set[int], pattern: str, meaning: Callable[[str, str], BackendError]) -> Row:
    kinds = frozenset(Doing) if doing == "any" else frozenset(Doing(word) for word in doing.split())
    numbers = statuses if isinstance(statuses, range) else frozenset(statuses)
    return Row(kinds, numbers, re.compile(pattern, re.IGNORECASE), meaning)


def _rejected(reason: Reason, hint: str = "") -> Callable[[str, str], BackendError]:
    return lambda message, _: Rejected(f"{hint}{message}", reason)


def _unavailable(message: str, _: str) -> BackendError:
    return Unavailable(message)


ANY = range(400, 600)
QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
TABLE = (
    _row(
        "create",
        {404},
        "no such image|image not known",
        lambda _, image: ImageMissing(image),
    ),
    _row(
        "create",
        {409, 500},
        "name .*already in use|name conflicts with an existing object",
        lambda message, _: NameTaken(message),
    ),
    _row("end", {500}, "update out of sequence", lambda message, _: OutOfDate(message)),
    # No space for the image: whoever pulls it again and again only makes it worse.
    _row("pull", ANY, "no space left on device|disk quota exceeded", _rejected(Reason.IMAGE_PULL)),
    # Not the job's fault, and over when the engine or its machine is well again.
    _row(
        "any",
        ANY,
        "no space left on device|cannot allocate memory|too many open files|resource temporarily unavailable"
        "|context deadline exceeded|context canceled|i/o timeout|connection refused|connection reset|no such host"
        "|server misbehaving|network is unreachable|no route to host|TLS handshake timeout|transport is closing"
        "|code = Unavailable|daemon is shutting down|request canceled|unexpected EOF|: EOF$|toomanyrequests"
        "|too many requests|unexpected HTTP status: (429|5..)|does not have a leader",
        _unavailable,
    ),
    _row("any", {429, 502, 503, 504}, "", _unavailable),
    _row("pull", ANY, "", _rejected(Reason.IMAGE_PULL)),
    _row("ask end start", {404}, "", lambda message, _: NotThere(message)),
    _row("end", {409, 500}, "removal of container .* is already in progress", lambda m, _: NotThere(m, is_busy=True)),
    _row("end", {409}, "", lambda message, _: NotThere(message, is_busy=True)),
    _row(
        "end",
        {500},
        "is not running|can only kill running|container state improper",
        lambda message, _: NotThere(message, is_busy=True),
    ),
    _row(
        "create",
        ANY,
        "bind source path does not exist|invalid mount config",
        _rejected(Reason.REJECTED, "the engine does not see a folder that pman sees; is STOREBASE the same for both? "),
    ),
    _row(
        "create start",
        ANY,
        "could not select device driver|unresolvable CDI devices|error gathering device information"
        "|container create: stat",
        _rejected(Reason.REJECTED, "gpu_limit: the engine has no GPUs: "),
    ),
    _row(
        "start",
        {400, 403, 500},
        "OCI runtime|executable file not found|no such file or directory|permission denied|exec format error"
        "|unable to find user|no matching entries in passwd|no matching entries in group|argument list too long"
        "|error setting rlimit|failed to create shim|failed to create task|not a directory|is a directory",
        _rejected(Reason.START_FAILED),
    ),
    _row("create start", range(400, 500), "", _rejected(Reason.REJECTED)),
    _row(
        "create",
        {500},
        "cfs quota|fill out specgen|normalizing name|invalid reference|unable to find network"
        "|raft message is too large",
        _rejected(Reason.REJECTED),
    ),
    _row("any", {401, 403}, "", _unavailable),
)
"""The first row that matches counts."""


def explain(doing: Doing, status: int, text: str, subject: str = "") -> BackendError:
    """Return the error that the reply ``status`` with ``text`` means; ``subject`` is the image, if one is meant."""
    message = " ".join(text.split())[:MESSAGE_CHARS_MAX]
    # What the user wrote means nothing: the name of an image, and what the engines quote.
    words = QUOTED.sub('""', message.replace(subject, "") if subject else message)
    for row in TABLE:
        if doing in row.doing and status in row.statuses and row.pattern.search(words):
            return row.meaning(message, subject)
    return Unparseable(f"the engine answered HTTP {status} to {doing.value}: {message}", text)
