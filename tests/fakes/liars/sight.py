"""Liars that do not see what is there, or tell it otherwise: by ``observe``, ``owned``, ``watch`` and ``health``."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from backends.mock import MockBackend, MockSettings
from pman_core.backend import Absent, Health, JobRef, Observed, Owned, Sighting, Unknown, WatchEvent
from pman_core.errors import BackendError
from pman_core.job import JobSpec
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State
from tests.fakes.liars.retold import Retold


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
