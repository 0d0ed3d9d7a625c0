"""The one-fault backends do what their names say; once the faults are used up, all is well."""

import threading
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pytest

from pman_core.backend import Absent, Backend, JobRef, Observed
from pman_core.errors import Unavailable, Unparseable
from pman_core.job import JobSpec
from tests.fakes import faulty
from tests.fakes.jobs import mock_job, new_mock

Fault = TypeVar("Fault", bound=faulty.Faulty)


@pytest.fixture
def spec() -> JobSpec:
    return mock_job("MOCK_LOG=words")


def opened(kind: type[Fault], folder: Path) -> Fault:
    backend = new_mock(kind, folder)
    backend.open()
    return backend


def look(backend: Backend, spec: JobSpec) -> object:
    return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]


@pytest.fixture
def cursor(tmp_path: Path) -> str:
    """Where a stream begins that has four events: two jobs wait for a moment and end."""
    backend = opened(faulty.Faulty, tmp_path)
    start = backend.cursor()
    for jid in ("a", "b"):
        backend.submit(mock_job("MOCK_PENDING_FOR_S=0.001", jid=jid))
    return start


def told(backend: Backend, cursor: str, count: int) -> list[tuple[str, str]]:
    """Return jid and state of the first events."""
    events = islice(backend.watch(cursor, threading.Event()), count)
    return [(event.observed.jid, event.observed.state) for event in events if event.observed]


def test_the_answer_is_lost_but_the_job_is_there(tmp_path: Path, spec: JobSpec) -> None:
    backend = opened(faulty.LosesTheAnswer, tmp_path)
    with pytest.raises(Unavailable):
        backend.submit(spec)
    assert isinstance(look(backend, spec), Observed)
    backend.submit(spec)


@pytest.mark.parametrize(
    ("kind", "error"), [(faulty.CannotBeAsked, Unavailable), (faulty.AnswersNonsense, Unparseable)]
)
def test_a_question_fails_so_often(
    tmp_path: Path, spec: JobSpec, kind: type[faulty.Faulty], error: type[Exception]
) -> None:
    backend = opened(kind, tmp_path)
    backend.times = 2
    backend.submit(spec)
    for _ in range(2):
        with pytest.raises(error):
            look(backend, spec)
    assert isinstance(look(backend, spec), Observed)


def test_a_job_is_seen_late(tmp_path: Path, spec: JobSpec) -> None:
    backend = opened(faulty.SeesLate, tmp_path)
    backend.submit(spec)
    assert look(backend, spec) == Absent()
    assert isinstance(look(backend, spec), Observed)


def test_logs_are_kept_for_ever(tmp_path: Path, spec: JobSpec) -> None:
    backend = opened(faulty.KeepsItsLogs, tmp_path)
    backend.submit(spec)
    for _ in range(3):
        with pytest.raises(Unavailable):
            backend.logs(JobRef(spec.jid, spec.generation), 10, 100)


def test_the_first_remove_fails(tmp_path: Path, spec: JobSpec) -> None:
    backend = opened(faulty.RemovesLater, tmp_path)
    backend.submit(spec)
    with pytest.raises(Unavailable):
        backend.remove(spec.jid, spec.generation)
    assert isinstance(look(backend, spec), Observed)
    backend.remove(spec.jid, spec.generation)
    assert look(backend, spec) == Absent()


def test_it_works_and_says_that_it_is_unwell(tmp_path: Path, spec: JobSpec) -> None:
    backend = opened(faulty.IsUnwell, tmp_path)
    backend.submit(spec)
    assert not backend.health().ok


def test_a_listing_breaks_off_half_way(tmp_path: Path) -> None:
    backend = opened(faulty.BreaksOffTheListing, tmp_path)
    for _ in range(4):
        backend.submit(mock_job())
    listing = backend.owned()
    assert len(list(islice(listing, 2))) == 2
    with pytest.raises(Unavailable):
        next(listing)
    assert len(list(backend.owned())) == 4


def test_the_stream_breaks_once(tmp_path: Path, cursor: str) -> None:
    backend = opened(faulty.BreaksTheStream, tmp_path)
    with pytest.raises(Unavailable):
        told(backend, cursor, count=2)
    assert len(told(backend, cursor, count=2)) == 2


def test_events_are_lost_repeated_or_out_of_order(tmp_path: Path, cursor: str) -> None:
    a, b, c, d = told(opened(faulty.Faulty, tmp_path), cursor, count=4)
    assert told(opened(faulty.LosesEvents, tmp_path), cursor, count=2) == [a, c]
    assert told(opened(faulty.RepeatsEvents, tmp_path), cursor, count=4) == [a, a, b, b]
    assert told(opened(faulty.ReordersEvents, tmp_path), cursor, count=6) == [b, a, c, b, d, c]
