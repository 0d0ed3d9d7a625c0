"""Backends that break the contract in one point each. The contract suite must catch every one of them.

They are the mock with one method spoilt; ``tests/contract/test_backend_liars.py`` says which test finds which liar.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from backends._time_limit import describe_time_limit
from backends.mock import MockBackend, MockSettings
from pman_core.backend import (
    Absent,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
    WatchEvent,
)
from pman_core.errors import BackendError, Conflict, Unavailable
from pman_core.job import JobSpec, mint_generation
from pman_core.settings import Settings
from pman_core.states import TERMINAL, Reason, State
from tests.fakes.unlimited import Unlimited


class Retold(MockBackend):
    """Its sightings go through ``retell``."""

    def retell(self, observed: Observed) -> Observed:
        raise NotImplementedError

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        return {
            key: self.retell(found) if isinstance(found, Observed) else found
            for key, found in super().observe(refs).items()
        }


class RunsAgain(MockBackend):
    """A second submit is a second execution."""

    def submit(self, spec: JobSpec) -> Handle:
        self._folder.forget(spec.generation)
        return super().submit(spec)


class AdoptsStrangers(MockBackend):
    """Whatever holds the name is taken for the job."""

    def submit(self, spec: JobSpec) -> Handle:
        try:
            return super().submit(spec)
        except Conflict:
            return Handle(1, {"id": spec.generation})


class RefusesRepeats(MockBackend):
    """A second submit is an error."""

    def submit(self, spec: JobSpec) -> Handle:
        if self._present(spec.generation):
            raise Conflict("it is there")
        return super().submit(spec)


class StartsNothing(MockBackend):
    """What an interrupted submit has made is adopted and not brought on."""

    def submit(self, spec: JobSpec) -> Handle:
        found = self._present(spec.generation)
        return super().submit(spec) if found is None else Handle(1, {"id": spec.generation})


class CallsItPending(Retold):
    """What was never started is said to wait for its start."""

    def retell(self, observed: Observed) -> Observed:
        return replace(observed, state=State.PENDING) if observed.state is State.QUEUED else observed


class UsesAShell(MockBackend):
    """argv goes through one line of text."""

    def _run(self, spec: JobSpec) -> None:
        spec.__dict__["argv"] = tuple(" ".join(spec.argv).split())
        super()._run(spec)


class StripsValues(MockBackend):
    """Environment values lose their white space at both ends."""

    def _run(self, spec: JobSpec) -> None:
        spec.__dict__["env"] = {name: value.strip() for name, value in spec.env.items()}
        super()._run(spec)


class NeedsItsMemory(MockBackend):
    """Only jobs of this very object are found."""

    def __init__(self, common: Settings, own: MockSettings) -> None:
        super().__init__(common, own)
        self._mine: set[str] = set()

    def submit(self, spec: JobSpec) -> Handle:
        self._mine.add(spec.generation)
        return super().submit(spec)

    def _present(self, generation: str):  # type: ignore[no-untyped-def]
        return super()._present(generation) if generation in self._mine else None


class NeedsAHandle(MockBackend):
    """Without a handle nothing is found."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        return {(ref.jid, ref.generation): Absent() if ref.handle is None else self._sight(ref) for ref in refs}


class RemembersHandles(MockBackend):
    """Whoever has a handle has a job."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        answers = dict(super().observe(refs))
        return answers | {(ref.jid, ref.generation): Unknown() for ref in refs if ref.handle}


class LeavesOutTheUnknown(MockBackend):
    """An unknown job gets no answer."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        return {key: found for key, found in super().observe(refs).items() if found != Absent()}


class ShrugsAtTheUnknown(MockBackend):
    """An unknown job is not said to be absent, so that no loss is ever noticed."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        return {key: Unknown() if found == Absent() else found for key, found in super().observe(refs).items()}


class GuessesAtHandles(MockBackend):
    """The handle of a newer release is read as if it were an old one."""

    def _sight(self, ref: JobRef) -> Sighting:
        return super()._sight(replace(ref, handle=None))


class SeesOnlySuccess(Retold):
    """Whatever has ended has succeeded."""

    def retell(self, observed: Observed) -> Observed:
        if observed.state not in TERMINAL:
            return observed
        return replace(observed, state=State.SUCCEEDED, exit_code=0, reason=None)


class HidesSignals(Retold):
    """A signal is an exit code like any other."""

    def retell(self, observed: Observed) -> Observed:
        signalled = (observed.exit_code or 0) > 128
        return replace(observed, exit_code=(observed.exit_code or 0) - 128) if signalled else observed


class GoesBack(Retold):
    """A job that has ended is seen running once more."""

    ends = 0

    def retell(self, observed: Observed) -> Observed:
        self.ends += observed.state in TERMINAL
        if observed.state in TERMINAL and self.ends == 2:
            return replace(observed, state=State.RUNNING)
        return observed


class HasNoTimezone(Retold):
    def retell(self, observed: Observed) -> Observed:
        return replace(
            observed,
            started_at=observed.started_at and observed.started_at.replace(tzinfo=None),
            finished_at=observed.finished_at and observed.finished_at.replace(tzinfo=None),
        )


class EndsAnew(Retold):
    """The time of the end is the time of the question."""

    def retell(self, observed: Observed) -> Observed:
        return replace(observed, finished_at=datetime.now(UTC)) if observed.state in TERMINAL else observed


class ListsEverybody(MockBackend):
    """``owned`` does not look at the instance."""

    def owned(self) -> Iterator[Owned]:
        for generation in self._folder.generations():
            if found := self._present(generation):
                spec = JobSpec.from_json(found[0].spec_json)
                sighting = self._sight(JobRef(spec.jid, generation))
                assert isinstance(sighting, Observed)
                yield Owned(sighting, spec)


class ForgetsSpecs(MockBackend):
    """``owned`` cannot rebuild what it finds."""

    def owned(self) -> Iterator[Owned]:
        return (replace(item, spec=None) for item in super().owned())


class ListsTheLiving(MockBackend):
    """``owned`` leaves out what has ended."""

    def owned(self) -> Iterator[Owned]:
        return (item for item in super().owned() if item.observed.state not in TERMINAL)


class KeepsTheBeginning(MockBackend):
    """The log is cut at its end."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        lines = super().logs(ref, 10**6, 10**7).splitlines(keepends=True)
        return "".join(lines[:tail_lines])[:max_bytes]


class SaysEverything(MockBackend):
    """The log is bounded in lines only."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        return super().logs(ref, tail_lines, 10**8)


class CountsCharacters(MockBackend):
    """The log is bounded in characters, not in bytes."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        return super().logs(ref, tail_lines, 10**8)[-max_bytes:]


class MissesUnknownLogs(MockBackend):
    """The log of an unknown job is an error."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if self._present(ref.generation) is None:
            raise Unavailable("404")
        return super().logs(ref, tail_lines, max_bytes)


class RemovesNothing(MockBackend):
    def remove(self, jid: str, generation: str) -> bool:
        return False


class ConfirmsTooEarly(MockBackend):
    """What lingers is said to be gone."""

    def remove(self, jid: str, generation: str) -> bool:
        found = self._to_remove(jid, generation)
        if found is not None:
            self._end(*found, gone_after_s=0.5)
        return True


class EndsTheRunningOnly(MockBackend):
    """What was never started is left for a late submit to start."""

    def end(self, jid: str, generation: str) -> None:
        found = self._present(generation)
        if found and found[0].is_started:
            super().end(jid, generation)


class KeepsNothing(MockBackend):
    def end(self, jid: str, generation: str) -> None:
        super().remove(jid, generation)


class RemovesByJid(MockBackend):
    """All generations of a jid go together."""

    def remove(self, jid: str, generation: str) -> bool:
        for item in list(super().owned()):
            if item.observed.jid == jid:
                super().remove(jid, item.observed.generation)
        return True


class RemovesByGeneration(MockBackend):
    """The jid is not looked at."""

    def remove(self, jid: str, generation: str) -> bool:
        found = self._present(generation)
        return super().remove(found[0].jid if found else jid, generation)


class MissesTheRemoved(MockBackend):
    """A second remove is an error."""

    def remove(self, jid: str, generation: str) -> bool:
        if self._present(generation) is None:
            raise Unavailable("404")
        return super().remove(jid, generation)


class IgnoresGpus(MockBackend):
    """Declares that it has none, and runs the job without."""

    def submit(self, spec: JobSpec) -> Handle:
        request = spec.request.model_copy(update={"gpus": 0})
        return super().submit(JobSpec(spec.generation, spec.instance, request))


class IgnoresTheTimeLimit(MockBackend):
    def __init__(self, common: Settings, own: MockSettings) -> None:
        super().__init__(common.model_copy(update={"timelimit_minutes": None}), own)


class ForgetsWhy(Unlimited):
    """What is past its time limit looks as if somebody had cancelled it."""

    def end_overdue(self, jid: str, generation: str) -> None:
        self.end(jid, generation)


class HidesTheLimit(Unlimited):
    """What is past its time limit does not say how long that was."""

    def told(self, spec_json: str) -> str:
        return "ended at its time limit"


class NamesTheSitesLimit(Unlimited):
    """What a job has asked for is not looked at."""

    def told(self, spec_json: str) -> str:
        return describe_time_limit(self._limits.time_limit_s(None))


class RemovesTheOverdue(Unlimited):
    """What is past its time limit is not there any more to tell so."""

    def end_overdue(self, jid: str, generation: str) -> None:
        self.remove(jid, generation)


class BlamesTheEnded(Retold, Unlimited):
    """Whatever is told to be past its time limit says so, also what had ended before."""

    def end_overdue(self, jid: str, generation: str) -> None:
        super().end_overdue(jid, generation)
        (self._folder.path / f"blamed-{generation}").touch()

    def retell(self, observed: Observed) -> Observed:
        is_blamed = (self._folder.path / f"blamed-{observed.generation}").exists()
        return replace(observed, reason=Reason.TIME_LIMIT) if is_blamed else observed


class NeverEndsTheOverdue(Unlimited):
    """Declares that the observer must end overdue jobs, and does not hear it."""

    def end_overdue(self, jid: str, generation: str) -> None:
        pass


class IgnoresTheUser(MockBackend):
    def __init__(self, common: Settings, own: MockSettings) -> None:
        super().__init__(common.model_copy(update={"container_user": None}), own)


class BoastsOfUsers(IgnoresTheUser):
    """Declares that it sets the user, and does not."""

    capabilities = Capabilities(watches=True)


class ConnectsTooEarly(MockBackend):
    def __init__(self, common: Settings, own: MockSettings) -> None:
        super().__init__(common, own)
        (self._folder.path / "connected").mkdir(parents=True)


class FindsNothingWhenAway(MockBackend):
    """A scheduler that cannot be reached has no jobs."""

    def owned(self) -> Iterator[Owned]:
        try:
            yield from super().owned()
        except BackendError:
            return


class PanicsWhenAway(MockBackend):
    def health(self) -> Health:
        self._reach()
        return Health(ok=True)


class WatchesFromNow(MockBackend):
    """The cursor is not looked at."""

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        return super().watch(self.cursor(), stop)


class HearsEverybody(MockBackend):
    """The stream does not look at the instance."""

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        everybody = list(ListsEverybody.owned(self))  # type: ignore[arg-type]
        strangers = [item for item in everybody if item.spec and item.spec.instance != self.common.pman_instance]
        yield from (WatchEvent(cursor, item.observed) for item in strangers)
        yield from super().watch(cursor, stop)


class ChangesItsHandle(MockBackend):
    """Adopting gives another handle than submitting did."""

    def submit(self, spec: JobSpec) -> Handle:
        handle = super().submit(spec)
        return replace(handle, data={**handle.data, "call": mint_generation()})
