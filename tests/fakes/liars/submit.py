"""Liars that submit a job twice, not at all, not as it was given, or not so that another worker finds it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backends.mock import MockBackend, MockSettings
from pman_core.backend import Absent, Handle, JobRef, Observed, Sighting
from pman_core.errors import Conflict
from pman_core.job import JobSpec, mint_generation
from pman_core.settings import Settings
from pman_core.states import State
from tests.fakes.liars.retold import Retold


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


class ChangesItsHandle(MockBackend):
    """Adopting gives another handle than submitting did."""

    def submit(self, spec: JobSpec) -> Handle:
        handle = super().submit(spec)
        return replace(handle, data={**handle.data, "call": mint_generation()})


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
