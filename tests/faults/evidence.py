"""What a night leaves behind, from three sources that know nothing of each other. Plain data: what the audit judges.

All times are seconds since the epoch on the one clock of this machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SHOWN = (
    "status", "state", "timestamp", "exit_code", "reason", "message", "generation", "cmd", "started_at", "attempts",
)  # fmt: skip
"""What is kept of a record that a client was shown."""


class Verb(StrEnum):
    POST = "POST"
    GET = "GET"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Body:
    """What one POST asks for. Another POST of the same jid has another number and an output folder of its own."""

    jid: str
    number: int
    seconds: float
    exit_code: int

    @property
    def tag(self) -> str:
        """An argument of the job, so that every record tells which body it is of."""
        return f"{self.jid}#{self.number}"

    @property
    def output_dir(self) -> str:
        return f"{self.jid}/out-{self.number}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client and what came back."""

    began_s: float
    ended_s: float
    verb: Verb
    jid: str
    number: int
    """Which body was sent; -1 for GET and DELETE."""
    code: int
    """0: no answer."""
    record: Mapping[str, Any] | None = None
    error: str = ""
    conflicts: bool = False
    """The body contradicts the one that was accepted: 409 is the right answer."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What the executions of one body have written into their output folder, a line for each: see ``written_s``."""

    begins: Sequence[str] = ()
    ends: Sequence[str] = ()


def written_s(line: str) -> float:
    """Return when a job has written a line of its traces, in whole seconds: the second word of it."""
    return float(line.split()[1])


@dataclass(frozen=True, slots=True)
class Native:
    """One object of the scheduler, as the scheduler itself shows it."""

    jid: str
    generation: str
    state: str
    """``running``, ``ended``, or the scheduler's own word where it is neither."""
    exit_code: int | None = None


class Effect(StrEnum):
    """What a fault may do to a client."""

    STORE_AWAY = "503"
    NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was."""

    kind: str
    target: str
    began_s: float
    ended_s: float
    effects: frozenset[Effect] = frozenset()
    hit: frozenset[str] = frozenset()
    """Generations whose job this fault has ended by force, where that is documented: FAILED with NODE_FAIL."""
    is_wipe: bool = False
    """All of the store was gone at ``began_s``, and the sweep after that was done by ``ended_s``."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the audit looks at."""

    bodies: Sequence[Body]
    calls: Sequence[Call]
    traces: Mapping[str, Traces]
    """By the tag of the body."""
    faults: Sequence[Injected] = ()
    silences: Sequence[tuple[float, float]] = ()
    """When the API was not there because it was ended and started anew, from and until."""
    quiet: bool = True
    """Whether everything had come to rest in the time allowed."""
    final: Mapping[str, Call] = field(default_factory=dict)
    """The last GET of each jid, when all was quiet and before the harness has deleted what was left."""
    natives: Sequence[Native] = ()
    """At that time."""
    left_in_store: Sequence[str] = ()
    """At that time: records not terminal, obligations, leases, messages."""
    natives_at_end: Sequence[Native] = ()
    """After everything was deleted."""
    processes_at_end: Sequence[str] = ()
    """Job processes that still live after everything was deleted."""
    keys_at_end: Sequence[str] = ()
    """Keys of the store that should not be there after everything was deleted."""
    deaths: Sequence[str] = ()
    """Processes of pman that have ended and that nobody had told to."""
