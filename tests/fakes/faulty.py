"""Backends with one fault each, for the tests of lifecycle and observer: the mock, and one thing goes wrong.

What one job can bring about by its own script (``MOCK_SUBMIT_ERROR`` ...) is not here; these are the faults between
pman and a scheduler. ``times`` says how often it happens before all is well.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

from backends.mock import MockBackend
from pman_core.backend import Absent, Handle, Health, JobRef, Owned, Sighting, WatchEvent
from pman_core.errors import Unavailable, Unparseable
from pman_core.job import JobSpec

FOR_EVER = 1_000_000


class Faulty(MockBackend):
    """Counts the faults down."""

    times = 1

    def strikes(self) -> bool:
        self.times -= 1
        return self.times >= 0


class LosesTheAnswer(Faulty):
    """``submit`` is done, but nobody hears of it."""

    def submit(self, spec: JobSpec) -> Handle:
        handle = super().submit(spec)
        if self.strikes():
            raise Unavailable("connection reset while reading the answer")
        return handle


class CannotBeAsked(Faulty):
    """``observe`` gets no answer at all."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        if self.strikes():
            raise Unavailable("read timed out")
        return super().observe(refs)


class AnswersNonsense(Faulty):
    """``observe`` gets an answer that nobody has ever seen."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        if self.strikes():
            raise Unparseable("not a listing", raw="<html>Bad Gateway</html>")
        return super().observe(refs)


class SeesLate(Faulty):
    """A job that is there is not in the listing yet, as on schedulers whose listing lags behind."""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        answers = super().observe(refs)
        return dict.fromkeys(answers, Absent()) if self.strikes() else answers


class KeepsItsLogs(Faulty):
    """No log can be read, ever."""

    times = FOR_EVER

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if self.strikes():
            raise Unavailable("the node does not answer")
        return super().logs(ref, tail_lines, max_bytes)


class RemovesLater(Faulty):
    """``remove`` does not get through at first."""

    def remove(self, jid: str, generation: str) -> bool:
        if self.strikes():
            raise Unavailable("connection refused")
        return super().remove(jid, generation)


class IsUnwell(Faulty):
    """Everything works, but the scheduler says that it is not well."""

    times = FOR_EVER

    def health(self) -> Health:
        return Health(ok=False, message="no node is ready") if self.strikes() else super().health()


class BreaksOffTheListing(Faulty):
    """``owned`` ends half-way, with an error: what is missing was not listed, it is not absent."""

    def owned(self) -> Iterator[Owned]:
        everything = list(super().owned())
        if not self.strikes():
            yield from everything
            return
        yield from everything[: len(everything) // 2]
        raise Unavailable("the second page timed out")


class BreaksTheStream(Faulty):
    """``watch`` breaks after the first event."""

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        stream = super().watch(cursor, stop)
        if self.strikes():
            yield from islice(stream, 1)
            raise Unavailable("410 Gone")
        yield from stream


class LosesEvents(Faulty):
    """Every second event is never told."""

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        return islice(super().watch(cursor, stop), 0, None, 2)


class RepeatsEvents(Faulty):
    """Every event is told twice."""

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        for event in super().watch(cursor, stop):
            yield event
            yield event


class ReordersEvents(Faulty):
    """Every event is told after the one that follows it, and once more in its place."""

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        for earlier, later in pairwise(super().watch(cursor, stop)):
            yield later
            yield earlier
