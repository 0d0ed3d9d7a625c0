"""The scheduler of the model: objects in a tuple, every call one step, nothing runs twice under a name that is taken.

As with a real engine the name is free again once the object is removed: what keeps a job from running twice then is
pman's own protocol. It remembers what really happened, for the invariants to compare with.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from pman_core.backend import Absent, Backend, Capabilities, Handle, Health, JobRef, Observed, Owned, Sighting
from pman_core.errors import Conflict, Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.states import NATIVE, TERMINAL, Reason, State
from tests.model.tape import Tape

End = tuple[str, str, State, int | None]
"""Generation, digest, state and exit code."""


@dataclass(frozen=True, slots=True)
class Native:
    """One object."""

    jid: str
    generation: str
    digest: str
    state: State
    exit_code: int | None = None

    @property
    def observed(self) -> Observed:
        reason = {State.FAILED: Reason.NONZERO_EXIT, State.CANCELLED: Reason.CANCELLED}.get(self.state)
        return Observed(
            self.jid, self.generation, self.digest, self.state, Handle(1, {"id": self.generation}), reason=reason,
            exit_code=self.exit_code,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scheduler:
    """All objects, and what has ever been. A value: each change makes another one."""

    natives: tuple[Native, ...] = ()
    starts: tuple[str, ...] = ()
    """The generation of every execution that has begun."""
    ends: frozenset[End] = frozenset()
    rejected: frozenset[str] = frozenset()
    lags: int = 0
    """So many listings in a row, as the leader makes them, have not shown what is there."""

    def find(self, generation: str) -> Native | None:
        return next((native for native in self.natives if native.generation == generation), None)

    def _put(self, native: Native) -> "Scheduler":
        others = [other for other in self.natives if other.generation != native.generation]
        natives = tuple(sorted((*others, native), key=lambda one: one.generation))
        if native.state not in TERMINAL:
            return replace(self, natives=natives)
        end = (native.generation, native.digest, native.state, native.exit_code)
        return replace(self, natives=natives, ends=self.ends | {end})

    def make(self, spec: JobSpec) -> "Scheduler":
        found = self.find(spec.generation)
        if found is None:
            if spec.generation in self.rejected:
                raise REJECTED
            return self._put(Native(spec.jid, spec.generation, spec.request.digest, State.QUEUED))
        if found.digest != spec.request.digest:
            raise Conflict("the name is held by another job")
        return self

    def start(self, generation: str) -> "Scheduler":
        found = self.find(generation)
        if found is None:
            raise Unavailable("removed just now")
        if found.state is not State.QUEUED:
            return self
        started = self._put(replace(found, state=State.PENDING))
        return replace(started, starts=tuple(sorted((*self.starts, generation))))

    def run(self, generation: str) -> "Scheduler":
        found = self.find(generation)
        assert found is not None
        return self._put(replace(found, state=State.RUNNING))

    def finish(self, generation: str) -> "Scheduler":
        """The first generation succeeds, all others fail: a mix-up of two shows."""
        found = self.find(generation)
        assert found is not None
        state, exit_code = (State.SUCCEEDED, 0) if generation == "g1" else (State.FAILED, 3)
        return self._put(replace(found, state=state, exit_code=exit_code))

    def end(self, generation: str) -> "Scheduler":
        found = self.find(generation)
        return self._put(replace(found, state=State.CANCELLED)) if found and found.state not in TERMINAL else self

    def remove(self, generation: str) -> "Scheduler":
        return replace(self, natives=tuple(one for one in self.natives if one.generation != generation))

    def alive(self) -> list[Native]:
        return [native for native in self.natives if native.state in NATIVE]


def answer(
    scheduler: Scheduler, name: str, args: tuple[Any, ...], specs: dict[tuple[str, str], JobSpec]
) -> tuple[Scheduler, Any]:
    """Do one call; returns the scheduler after it and what the caller hears.

    Raises:
        BackendError: nothing was done.
    """
    match name:
        case "submit":
            specs[args[0].generation, args[0].request.digest] = args[0]
            return scheduler.make(args[0]).start(args[0].generation), None
        case "make":
            specs[args[0].generation, args[0].request.digest] = args[0]
            return scheduler.make(args[0]), None
        case "start":
            return scheduler.start(args[0]), None
        case "observe":
            found = [(ref, scheduler.find(ref.generation)) for ref in args[0]]
            seen = {(ref.jid, ref.generation): one.observed if one else Absent() for ref, one in found}
            return scheduler, seen
        case "owned":
            owned = [Owned(one.observed, specs[one.generation, one.digest]) for one in scheduler.natives]
            return scheduler, owned
        case "end":
            return scheduler.end(args[0]), None
        case "remove":
            return scheduler.remove(args[0]), None
    raise AssertionError(name)


def lagging(scheduler: Scheduler, refs: Sequence[JobRef]) -> tuple[Scheduler, Any]:
    """Answer ``observe`` with a listing that shows nothing yet."""
    return replace(scheduler, lags=scheduler.lags + 1), {(ref.jid, ref.generation): Absent() for ref in refs}


def rejecting(scheduler: Scheduler, spec: JobSpec) -> Scheduler:
    """The scheduler refuses the job, for good."""
    return replace(scheduler, rejected=scheduler.rejected | {spec.generation})


REJECTED = Rejected("no such user")


class NoSettings(BaseModel):
    """The scheduler of the model has none."""


class ModelBackend(Backend):
    """The real contract, each of whose calls is a question to :class:`Scheduler`."""

    name = "mock"
    Settings = NoSettings
    capabilities = Capabilities()

    def __init__(self, common: Settings, tape: Tape, *, in_two_steps: bool, confirms: bool) -> None:
        super().__init__(common, NoSettings())
        self._ask = tape.ask
        self._in_two_steps = in_two_steps
        self._confirms = confirms

    def submit(self, spec: JobSpec) -> Handle:
        if self._in_two_steps:
            self._ask("scheduler", "make", spec)
            self._ask("scheduler", "start", spec.generation)
        else:
            self._ask("scheduler", "submit", spec)
        return Handle(1, {"id": spec.generation})

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        found: Mapping[tuple[str, str], Sighting] = self._ask("scheduler", "observe", tuple(refs))
        return found

    def owned(self) -> Iterator[Owned]:
        return iter(self._ask("scheduler", "owned"))

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        return ""

    def end(self, jid: str, generation: str) -> None:
        self._ask("scheduler", "end", generation)

    def remove(self, jid: str, generation: str) -> bool:
        self._ask("scheduler", "remove", generation)
        return self._confirms

    def health(self) -> Health:
        return Health(ok=True)
