"""What the mock does beyond the contract: the faults that a script or the folder asks for, on a clock moved by hand."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backends._mock_folder import KNOWN_MIN, Faults, Folder
from backends.mock import MockBackend, MockSettings
from pman_core.backend import Absent, JobRef, Observed, Sighting, Unknown
from pman_core.errors import Conflict, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.settings import Settings
from pman_core.states import State
from tests.fakes.jobs import mock_job as job
from tests.fakes.jobs import new_mock


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(tmp_path: Path, clock: Clock) -> MockBackend:
    opened = new_mock(MockBackend, tmp_path)
    opened.clock = clock
    opened.open()
    return opened


def look(backend: MockBackend, spec: JobSpec) -> Sighting:
    return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]


@pytest.mark.parametrize(
    ("error", "kind"),
    [("rejected", Rejected), ("unavailable", Unavailable), ("conflict", Conflict), ("unparseable", Unparseable)],
)
def test_submit_goes_wrong_for_ever(backend: MockBackend, error: str, kind: type[Exception]) -> None:
    spec = job(f"MOCK_SUBMIT_ERROR={error}")
    for _ in range(3):
        with pytest.raises(kind):
            backend.submit(spec)
    assert look(backend, spec) == Absent()


def test_submit_goes_wrong_so_often_and_then_works(backend: MockBackend, tmp_path: Path) -> None:
    spec = job("MOCK_SUBMIT_ERROR=unavailable", "MOCK_SUBMIT_ERROR_TIMES=2")
    for worker in (backend, new_mock(MockBackend, tmp_path)):
        with pytest.raises(Unavailable):
            worker.submit(spec)
    backend.submit(spec)
    assert Folder(tmp_path).runs() == {(spec.jid, spec.generation): 1}


def test_a_lost_answer_is_found_by_calling_again(backend: MockBackend, tmp_path: Path) -> None:
    spec = job("MOCK_SUBMIT_ERROR=lost_answer", "MOCK_SUBMIT_ERROR_TIMES=1")
    with pytest.raises(Unavailable):
        backend.submit(spec)
    assert isinstance(look(backend, spec), Observed)
    backend.submit(spec)
    assert Folder(tmp_path).runs().total() == 1


def test_a_submit_that_is_lost_half_way_starts_nothing_until_the_next_one(
    backend: MockBackend, tmp_path: Path, clock: Clock
) -> None:
    spec = job("MOCK_SUBMIT_ERROR=lost_half_way", "MOCK_SUBMIT_ERROR_TIMES=1", "MOCK_RUN_FOR_S=5")
    with pytest.raises(Unavailable):
        backend.submit(spec)
    clock.now_s += 100
    made = look(backend, spec)
    assert isinstance(made, Observed)
    assert made.state is State.QUEUED
    backend.submit(spec)
    running = look(backend, spec)
    assert isinstance(running, Observed)
    assert running.state is State.RUNNING
    assert running.started_at is not None
    assert running.started_at.timestamp() == clock.now_s
    assert Folder(tmp_path).runs() == {(spec.jid, spec.generation): 1}


@pytest.mark.parametrize(("error", "runs"), [("crash", 0), ("crash_half_way", 0), ("crash_after", 1)])
def test_a_crash_ends_the_calling_process(backend: MockBackend, tmp_path: Path, error: str, runs: int) -> None:
    spec = job(f"MOCK_SUBMIT_ERROR={error}")
    program = (
        "import sys; from pathlib import Path; from backends.mock import *; from pman_core.settings import Settings;"
        "folder = Path(sys.argv[1]); common = Settings(storebase=folder, container_env='mock');"
        "MockBackend(common, MockSettings(mock_dir=folder)).submit(JobSpec.from_json(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path, spec.to_json()], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Folder(tmp_path).runs().total() == runs


def test_a_submit_that_hangs_gives_up_in_time(backend: MockBackend) -> None:
    backend.submit_timeout_s = 0.01  # type: ignore[misc]
    spec = job("MOCK_SUBMIT_BLOCK_FOR_S=60")
    with pytest.raises(Unavailable, match=r"no answer within 0\.01 s"):
        backend.submit(spec)
    assert look(backend, spec) == Absent()


def test_a_job_vanishes_and_keeps_its_name(backend: MockBackend, clock: Clock, tmp_path: Path) -> None:
    spec = job("MOCK_RUN_FOR_S=60", "MOCK_VANISH_AFTER_S=5")
    backend.submit(spec)
    assert isinstance(look(backend, spec), Observed)
    clock.now_s += 5
    assert look(backend, spec) == Absent()
    assert list(backend.owned()) == []
    backend.submit(spec)
    assert look(backend, spec) == Absent()
    assert Folder(tmp_path).runs().total() == 1


def test_a_removed_job_lingers(backend: MockBackend, clock: Clock) -> None:
    spec = job("MOCK_RUN_FOR_S=60", "MOCK_REMOVE_LINGER_S=3")
    backend.submit(spec)
    backend.remove(spec.jid, spec.generation)
    clock.now_s += 1
    backend.remove(spec.jid, spec.generation)
    found = look(backend, spec)
    assert isinstance(found, Observed)
    assert (found.state, found.finished_at and found.finished_at.timestamp()) == (State.CANCELLED, 1000.0)
    clock.now_s += 3
    assert look(backend, spec) == Absent()


def test_remove_fails_so_often_and_then_works(backend: MockBackend) -> None:
    spec = job("MOCK_RUN_FOR_S=60", "MOCK_REMOVE_ERROR_TIMES=1")
    backend.submit(spec)
    with pytest.raises(Unavailable):
        backend.remove(spec.jid, spec.generation)
    backend.remove(spec.jid, spec.generation)
    assert look(backend, spec) == Absent()


def test_logs_that_cannot_be_read(backend: MockBackend) -> None:
    spec = job("MOCK_LOG=words", "MOCK_LOGS_UNAVAILABLE=1")
    backend.submit(spec)
    with pytest.raises(Unavailable):
        backend.logs(JobRef(spec.jid, spec.generation), 10, 100)


def test_a_waiting_job_has_said_nothing_yet(backend: MockBackend, clock: Clock) -> None:
    spec = job("MOCK_LOG=words", "MOCK_PENDING_FOR_S=5", "MOCK_RUN_FOR_S=5")
    backend.submit(spec)
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 100) == ""
    clock.now_s += 5
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 100) == "words"


def test_a_misspelt_script_is_rejected(backend: MockBackend) -> None:
    with pytest.raises(Rejected, match="MOCK_RUNFOR_S"):
        backend.submit(job("MOCK_RUNFOR_S=1"))


def test_a_scheduler_that_is_down_answers_nothing(backend: MockBackend, tmp_path: Path) -> None:
    spec = job("MOCK_RUN_FOR_S=60")
    backend.submit(spec)
    stream = backend.watch(backend.cursor(), threading.Event())
    next(stream)
    Folder(tmp_path).faults = Faults(down=True)
    for call in (
        lambda: backend.submit(job()),
        lambda: look(backend, spec),
        lambda: list(backend.owned()),
        lambda: backend.remove(spec.jid, spec.generation),
        lambda: backend.logs(JobRef(spec.jid, spec.generation), 1, 1),
        backend.cursor,
        lambda: list(stream),
    ):
        with pytest.raises(Unavailable):
            call()
    assert not backend.health().ok
    Folder(tmp_path).faults = Faults()
    assert isinstance(look(backend, spec), Observed)


@pytest.mark.parametrize(("error", "kind"), [("unavailable", Unavailable), ("unparseable", Unparseable)])
def test_a_share_of_all_calls_is_answered_with_an_error_the_same_in_every_run(
    tmp_path: Path, error: str, kind: type[Exception]
) -> None:
    def errors(name: str) -> list[bool]:
        (tmp_path / name).mkdir()
        opened = new_mock(MockBackend, tmp_path / name)
        opened.open()
        Folder(tmp_path / name).faults = Faults.model_validate({"error_share": 0.3, "error": error})
        failed = []
        for _ in range(100):
            try:
                opened.cursor()
            except kind:
                failed.append(True)
            else:
                failed.append(False)
        return failed

    assert 20 < sum(errors("first")) < 40
    assert errors("second") == errors("third")


def test_a_scheduler_that_answers_nonsense_is_not_well_and_raises_nothing(backend: MockBackend, tmp_path: Path) -> None:
    Folder(tmp_path).faults = Faults(error_share=1.0, error="unparseable")
    assert not backend.health().ok


def test_events_can_be_lost(backend: MockBackend, tmp_path: Path) -> None:
    cursor = backend.cursor()
    backend.submit(job())
    Folder(tmp_path).faults = Faults(lose_events=True)
    stream = backend.watch(cursor, stop := threading.Event())
    assert next(stream).observed is None
    stop.set()


@pytest.mark.parametrize("cursor", ["nonsense", "999999@1000.0"])
def test_a_cursor_of_another_life_breaks_the_stream(backend: MockBackend, cursor: str) -> None:
    with pytest.raises(Unavailable):
        next(backend.watch(cursor, threading.Event()))


def test_a_file_that_is_no_job_is_unknown(backend: MockBackend, tmp_path: Path) -> None:
    spec = job()
    (tmp_path / "jobs" / spec.generation).write_text("{")
    assert isinstance(look(backend, spec), Unknown)


def test_a_job_whose_spec_cannot_be_read_is_listed_without(backend: MockBackend, tmp_path: Path) -> None:
    spec = job()
    backend.submit(spec)
    path = tmp_path / "jobs" / spec.generation
    path.write_text(path.read_text().replace(r"\"v\": 1", r"\"v\": 9"))
    assert [(item.observed.jid, item.spec) for item in backend.owned()] == [("job", None)]


def test_without_a_folder_it_can_never_run(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="MOCK_DIR"):
        MockBackend(Settings(storebase=tmp_path, container_env="mock"), MockSettings()).open()


def test_the_folder_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOCK_DIR", os.fspath(tmp_path))
    assert MockSettings().mock_dir == tmp_path


def test_a_burst_is_told_whole(backend: MockBackend) -> None:
    cursor = backend.cursor()
    specs = [job(jid=f"job-{number}") for number in range(500)]
    for spec in specs:
        backend.submit(spec)
    ended = set()
    stop = threading.Event()
    for event in backend.watch(cursor, stop):
        if event.observed is None or len(ended) == len(specs):
            stop.set()
        else:
            ended.add(event.observed.generation)
    assert ended == {spec.generation for spec in specs}


def test_what_others_have_removed_is_not_remembered_for_ever(backend: MockBackend, tmp_path: Path) -> None:
    watching, staying = Folder(tmp_path), job(jid="stays")
    backend.submit(staying)
    for number in range(5 * KNOWN_MIN):
        spec = job(jid=f"goes-{number}")
        backend.submit(spec)
        assert watching.load(spec.generation) is not None
        assert watching.load(staying.generation) is not None
        backend.remove(spec.jid, spec.generation)
    assert len(watching._known) <= KNOWN_MIN
    assert staying.generation in watching._known


def test_who_ends_what_another_worker_removes_just_then_leaves_nothing(
    backend: MockBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = job("MOCK_RUN_FOR_S=60")
    backend.submit(spec)
    other = new_mock(MockBackend, tmp_path)
    find = backend._to_remove

    def find_and_be_late(jid: str, generation: str) -> object:
        found = find(jid, generation)
        other.remove(jid, generation)
        return found

    monkeypatch.setattr(backend, "_to_remove", find_and_be_late)
    backend.end(spec.jid, spec.generation)
    assert [list((tmp_path / name).iterdir()) for name in ("jobs", "starts", "ends")] == [[], [], []]
