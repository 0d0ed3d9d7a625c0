"""The control folder weighed against Cromwell's word: every row of the table in ``_cromwell/looks.py``."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends._cromwell.facts import SILENCE_S
from backends._cromwell.looks import LAST_WORD_S, WINDOW_S
from backends._cromwell.replies import TERMINAL_STATUSES
from pman_core.backend import Absent, JobRef, Observed, Unknown
from pman_core.errors import Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from tests.unit.cromwell_server import NOT_THERE, SUBMITTED, Scripted, Site, metadata, row, serving

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(hours=1)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serving(Scripted()) as scripted:
        yield scripted


@pytest.fixture
def site(tmp_path: Path, server: Scripted) -> Site:
    site = Site(tmp_path, server.url)
    site.backend.open()
    return site


@pytest.fixture
def spec(site: Site, server: Scripted) -> JobSpec:
    """A job that Cromwell has accepted."""
    server.says("POST", "/v1", SUBMITTED)
    spec = site.spec()
    site.backend.submit(spec)
    return spec


def look(site: Site, spec: JobSpec) -> Observed:
    found = site.look(spec)
    assert isinstance(found, Observed)
    return found


@pytest.mark.parametrize("status", ["Submitted", "On Hold", "Running", "Aborting"])
def test_what_is_active_and_has_not_begun_is_pending(site: Site, server: Scripted, spec: JobSpec, status: str) -> None:
    server.shows(row(spec, status))
    found = look(site, spec)
    assert (found.state, found.native_state, found.started_at) == (State.PENDING, status, None)
    assert found.message, "people want to know what it waits for"


def test_whatever_has_not_ended_is_asked_for(site: Site, server: Scripted, spec: JobSpec) -> None:
    assert [owned.observed.jid for owned in site.backend.owned()] == [spec.jid]
    [query] = [path for method, path, _ in server.asked if method == "GET" and "/query?" in path]
    assert re.findall(r"status=(\w+)", query) == ["Submitted", "Running", "Aborting"]
    assert "Aborting" not in TERMINAL_STATUSES


@pytest.mark.parametrize("status", ["Submitted", "Running", "Aborting"])
def test_what_is_active_and_has_begun_is_running(site: Site, server: Scripted, spec: JobSpec, status: str) -> None:
    site.claim(spec, LONG_AGO)
    server.shows(row(spec, status))
    found = look(site, spec)
    assert (found.state, found.native_state, found.started_at) == (State.RUNNING, status, LONG_AGO)


def test_a_job_whose_image_is_being_fetched_is_pending(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO, has_image=False)
    for rows in ([], [row(spec, "Running")]):
        server.shows(*rows)
        found = look(site, spec)
        assert (found.state, found.started_at, found.message) == (
            State.PENDING,
            None,
            "its image is being fetched on n1",
        )
    (site.folder(spec) / "log").touch()
    assert look(site, spec).state is State.RUNNING


@pytest.mark.parametrize("status", ["Submitted", "Running", "Aborting", "Failed", "Succeeded", "Aborted", ""])
def test_the_launchers_end_is_the_end_whatever_cromwell_says(
    site: Site, server: Scripted, spec: JobSpec, status: str
) -> None:
    site.claim(spec, LONG_AGO)
    site.end(spec, 7, NOW)
    server.shows(*([row(spec, status)] if status else []))
    found = look(site, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 7)
    assert server.count("POST", "/query") == 0, "it need not be asked"


def test_an_end_that_was_told_once_is_told_again(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.end(spec, 0, NOW)
    first = look(site, spec)
    (site.folder(spec) / "end" / "facts").write_bytes(b"cause=exited\0exit_code=9\0")
    server.shows(row(spec, "Failed"))
    assert look(site, spec) == first
    assert first.state is State.SUCCEEDED


def test_an_end_that_cannot_be_written_down_is_told_all_the_same(site: Site, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.end(spec, 7, NOW)
    (site.folder(spec) / "verdict").touch()  # so that no folder of that name can be made
    assert look(site, spec).exit_code == 7
    assert look(site, spec).exit_code == 7


def test_a_kill_is_explained_by_the_batch_system(tmp_path: Path, site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.end(spec, 137, datetime.now(UTC))
    folder = tmp_path / row(spec, "")["id"] / "call-job"
    folder.mkdir(parents=True)
    said = "slurmstepd: error: *** JOB 30 ON n1 CANCELLED AT 2026-11-23T01:08:32 DUE TO TIME LIMIT ***"
    (folder / "stderr").write_text(f"{said}\n")
    server.shows(row(spec, "Running"))
    assert look(site, spec).state is State.RUNNING, "the batch system may yet say why"
    server.shows(row(spec, "Failed", ended_at=NOW))
    server.says("GET", "/metadata", metadata(spec, "Failed", stderr=str(folder / "stderr")))
    found = look(site, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.TIME_LIMIT, 137)
    assert said in found.message


def test_a_kill_is_explained_after_cromwell_has_heard_of_the_end(
    tmp_path: Path, site: Site, server: Scripted, spec: JobSpec
) -> None:
    """slurmstepd tells of memory when all of a job has ended; Cromwell's script has left its code by then."""
    site.claim(spec, LONG_AGO)
    site.end(spec, 137, datetime.now(UTC))
    folder = tmp_path / row(spec, "")["id"] / "call-job"
    folder.mkdir(parents=True)
    server.shows(row(spec, "Failed", ended_at=NOW))
    server.says("GET", "/metadata", metadata(spec, "Failed", stderr=str(folder / "stderr")))
    assert look(site, spec).state is State.RUNNING, "the batch system may yet say why"
    (folder / "stderr").write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=30.batch.\n")
    found = look(site, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.OOM_KILLED, 137)


def test_a_kill_that_nobody_explains_is_told_all_the_same(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.end(spec, 137, NOW - timedelta(seconds=LAST_WORD_S + 1))
    server.shows(row(spec, "Running"))
    server.says("GET", "/metadata", metadata(spec, "Running"))
    found = look(site, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.SIGNALLED, 137)


def test_a_kill_is_not_told_while_cromwell_cannot_be_asked_why(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.end(spec, 143, LONG_AGO)
    server.shows(row(spec, "Aborted", ended_at=LONG_AGO))
    server.says("GET", "/metadata", (503, "busy"))
    assert isinstance(site.look(spec), Unknown)
    server.says("GET", "/metadata", metadata(spec, "Aborted"))
    found = look(site, spec)
    assert (found.state, found.reason, found.exit_code) == (State.CANCELLED, Reason.CANCELLED, 143)
    assert found.message == "aborted in Cromwell"


def test_a_kill_of_a_job_that_cromwell_does_not_show_yet_is_explained(
    site: Site, server: Scripted, spec: JobSpec
) -> None:
    site.claim(spec, NOW)
    site.end(spec, 143, datetime.now(UTC))
    assert look(site, spec).state is State.RUNNING
    server.shows(row(spec, "Aborted", ended_at=NOW))
    server.says("GET", "/metadata", metadata(spec, "Aborted"))
    assert look(site, spec).reason is Reason.CANCELLED


@pytest.mark.parametrize("status", ["Failed", "Succeeded", "Aborted"])
def test_the_launchers_last_word_is_waited_for(site: Site, server: Scripted, spec: JobSpec, status: str) -> None:
    site.claim(spec, LONG_AGO)
    server.shows(row(spec, status, ended_at=datetime.now(UTC)))
    assert look(site, spec).state is State.RUNNING
    site.end(spec, 3, NOW)
    assert look(site, spec).exit_code == 3


def test_without_the_launchers_last_word_cromwells_is_taken(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    server.shows(row(spec, "Failed", ended_at=LONG_AGO))
    server.says("GET", "/metadata", metadata(spec, "Failed", ["Workflow failed", "the node is gone"], returnCode=79))
    found = look(site, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "the node is gone" in found.message
    assert look(site, spec) == found
    assert server.count("GET", "/metadata") == 1, "the end is asked for once"


@pytest.mark.parametrize("code", [{"returnCode": 79}, {}], ids=["an invented code", "no code"])
def test_a_job_that_cromwell_has_given_up_runs_while_its_launcher_does(
    site: Site, server: Scripted, spec: JobSpec, code: dict[str, int]
) -> None:
    site.claim(spec, LONG_AGO)
    site.beat(spec, 1)
    server.shows(row(spec, "Failed", ended_at=LONG_AGO))
    server.says("GET", "/metadata", metadata(spec, "Failed", ["Workflow failed", "not alive"], **code))
    assert (look(site, spec).state, look(site, spec).started_at) == (State.RUNNING, LONG_AGO)
    assert site.backend.remove(spec.jid, spec.generation) is False
    assert look(site, spec).state is State.RUNNING, "nobody has ended it"
    site.beat(spec, SILENCE_S + 1)
    assert site.look(spec) == Absent()


def test_a_job_that_cromwell_says_has_ended_while_its_image_is_fetched_has_not_begun(
    site: Site, server: Scripted, spec: JobSpec
) -> None:
    site.claim(spec, LONG_AGO, has_image=False)
    server.says("GET", "/metadata", metadata(spec, "Failed", ["Workflow failed"], returnCode=79))
    server.shows(row(spec, "Failed", ended_at=datetime.now(UTC)))
    assert (look(site, spec).state, look(site, spec).started_at) == (State.PENDING, None)
    server.shows(row(spec, "Failed", ended_at=LONG_AGO))
    site.beat(spec, 1)
    assert (look(site, spec).state, look(site, spec).started_at) == (State.PENDING, None)
    site.beat(spec, SILENCE_S + 1)
    assert (look(site, spec).state, look(site, spec).started_at) == (State.FAILED, None)


def test_a_launcher_that_was_told_to_end_by_the_batch_system_is_not_waited_for(
    site: Site, server: Scripted, spec: JobSpec
) -> None:
    site.claim(spec, LONG_AGO)
    site.beat(spec, 1)
    server.shows(row(spec, "Failed", ended_at=LONG_AGO))
    stderr = site.store / row(spec, "")["id"] / "stderr"
    stderr.parent.mkdir()
    stderr.write_text("slurmstepd-n1: error: *** JOB 30 ON n1 CANCELLED AT 2026-11-23T01:08:32 ***\n")
    told = metadata(spec, "Failed", ["Workflow failed"], returnCode=79, stderr=str(stderr))
    server.says("GET", "/metadata", told)
    assert look(site, spec).state is State.CANCELLED


def test_a_job_that_cromwell_has_given_up_has_ended_with_its_launcher(
    site: Site, server: Scripted, spec: JobSpec
) -> None:
    site.claim(spec, LONG_AGO)
    server.shows(row(spec, "Failed", ended_at=LONG_AGO))
    server.says("GET", "/metadata", metadata(spec, "Failed", ["Workflow failed"], returnCode=79))
    site.beat(spec, 1)
    assert look(site, spec).state is State.RUNNING
    site.end(spec, 0, NOW)
    assert look(site, spec).state is State.SUCCEEDED


def test_an_end_whose_metadata_cannot_be_had_is_unknown(site: Site, server: Scripted, spec: JobSpec) -> None:
    server.shows(row(spec, "Failed", ended_at=LONG_AGO))
    for answer in (NOT_THERE, (503, "busy")):
        server.says("GET", "/metadata", answer)
        assert isinstance(site.look(spec), Unknown)


def test_what_was_accepted_a_moment_ago_is_pending_though_cromwell_denies_it(site: Site, spec: JobSpec) -> None:
    assert look(site, spec).state is State.PENDING
    site.claim(spec, NOW)
    assert look(site, spec).state is State.RUNNING


def test_what_cromwell_goes_on_denying_is_absent(site: Site, spec: JobSpec) -> None:
    site.age(spec, WINDOW_S + 1)
    assert site.look(spec) == Absent()


def test_what_has_begun_and_is_denied_is_unknown_until_it_ends(site: Site, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.age(spec, WINDOW_S + 1)
    assert isinstance(site.look(spec), Unknown)
    site.end(spec, 0, NOW)
    assert look(site, spec).state is State.SUCCEEDED


def test_what_has_not_been_accepted_waits_for_another_submit(site: Site, server: Scripted) -> None:
    spec = site.spec()
    server.says("POST", "/v1", (503, "busy"), SUBMITTED)
    with pytest.raises(Unavailable):
        site.backend.submit(spec)
    assert look(site, spec).state is State.QUEUED
    site.backend.submit(spec)
    assert look(site, spec).state is State.PENDING


def test_a_job_without_its_folder_is_as_cromwell_says(site: Site, server: Scripted) -> None:
    spec = site.spec()
    server.shows(row(spec, "Submitted"))
    assert look(site, spec).state is State.PENDING
    assert look(site, spec).digest == spec.request.digest
    assert [(item.observed.jid, item.spec) for item in site.backend.owned()] == [(spec.jid, None)]
    server.shows(row(spec, "Running"))
    assert look(site, spec).state is State.RUNNING
    server.shows(row(spec, "Failed", ended_at=NOW))
    server.says("GET", "/metadata", metadata(spec, "Failed", ["Workflow failed"], returnCode=1))
    assert look(site, spec).state is State.FAILED


def test_a_folder_that_cannot_be_read_hides_no_other(site: Site, server: Scripted, spec: JobSpec) -> None:
    other = site.spec(jid="other")
    site.backend.submit(other)
    (site.folder(spec) / "claim").mkdir()
    (site.folder(spec) / "claim" / "facts").symlink_to("facts")  # a loop: an error of the store for root, too
    server.shows(row(spec, "Running"), row(other, "Running"))
    found = site.backend.observe([JobRef(spec.jid, spec.generation), JobRef(other.jid, other.generation)])
    assert isinstance(found[spec.jid, spec.generation], Unknown)
    assert isinstance(found[other.jid, other.generation], Observed)


def test_a_damaged_verdict_is_not_guessed_at(site: Site, spec: JobSpec) -> None:
    (site.folder(spec) / "verdict").mkdir()
    (site.folder(spec) / "verdict" / "facts").write_text("{")
    assert isinstance(site.look(spec), Unknown)
    with pytest.raises(Unavailable):
        site.backend.end(spec.jid, spec.generation)
    assert [item.spec for item in site.backend.owned()] == [spec], "it is there, whatever became of it"


def test_a_damaged_spec_still_has_a_name_by_its_labels(site: Site, server: Scripted, spec: JobSpec) -> None:
    (site.folder(spec) / "spec.json").write_text("{")
    fresh = Site(site.store.parent, server.url)
    server.shows(row(spec, "Running"))
    owned = list(fresh.backend.owned())
    assert [(item.observed.jid, item.observed.digest, item.spec) for item in owned] == [
        (spec.jid, spec.request.digest, None)
    ]


def test_a_removed_job_is_there_until_cromwell_has_ended_it(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    server.says("POST", "/abort", (200, '{"id":"x","status":"Aborting"}'))
    assert site.backend.remove(spec.jid, spec.generation) is False
    assert look(site, spec).state is State.RUNNING, "denied for seconds, as a fresh one"
    server.shows(row(spec, "Aborting"))
    assert look(site, spec).state is State.RUNNING
    server.shows(row(spec, "Aborted", ended_at=NOW))
    server.says("GET", "/metadata", NOT_THERE)
    assert site.look(spec) == Absent()
    assert sorted(path.name for path in site.folder(spec).iterdir()) == ["gone", "removed"]
    asked = len(server.asked)
    assert site.look(spec) == Absent()
    assert len(server.asked) == asked


def test_a_removed_job_is_not_ended_once_more(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.backend.remove(spec.jid, spec.generation)
    aborts = server.count("POST", "/abort")
    site.backend.end(spec.jid, spec.generation)
    assert server.count("POST", "/abort") == aborts
    assert not (site.folder(spec) / "verdict").exists()


def test_a_removed_job_that_cromwell_has_forgotten_is_gone(site: Site, server: Scripted, spec: JobSpec) -> None:
    server.says("POST", "/abort", (200, '{"id":"x","status":"Aborting"}'))
    site.backend.remove(spec.jid, spec.generation)
    site.age(spec, WINDOW_S + 1)
    assert site.look(spec) == Absent()


def test_a_job_that_was_told_to_end_is_running_until_it_has(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    server.says("POST", "/abort", (200, '{"id":"x","status":"Aborting"}'))
    site.backend.end(spec.jid, spec.generation)
    server.shows(row(spec, "Aborting"))
    assert look(site, spec).state is State.RUNNING
    server.shows(row(spec, "Aborted"))
    found = look(site, spec)
    assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED)
    site.end(spec, 137, NOW)
    assert look(site, spec) == found, "what the launcher says of it now is no news"


def test_a_job_that_is_overdue_has_failed_of_its_time_limit(site: Site, server: Scripted, spec: JobSpec) -> None:
    site.claim(spec, LONG_AGO)
    site.backend.end_overdue(spec.jid, spec.generation)
    server.shows(row(spec, "Aborted"))
    found = look(site, spec)
    assert (found.state, found.reason, found.started_at) == (State.FAILED, Reason.TIME_LIMIT, LONG_AGO)
    site.backend.end(spec.jid, spec.generation)
    assert look(site, spec).reason is Reason.TIME_LIMIT, "what was told first stays"
    assert found.message == "ended at its time limit"


def test_a_job_that_is_overdue_says_how_long_its_limit_was(site: Site, server: Scripted) -> None:
    site.backend.common = site.backend.common.model_copy(update={"timelimit_minutes": 60.0})
    spec = site.spec(jid="timed", time_limit=7)
    server.says("POST", "/v1", SUBMITTED)
    site.backend.submit(spec)
    site.claim(spec, LONG_AGO)
    site.backend.end_overdue(spec.jid, spec.generation)
    server.shows(row(spec, "Aborted"))
    assert look(site, spec).message == "ended at its time limit of 7 min"


def test_many_jobs_are_one_list_and_one_question_for_those_that_left_it(site: Site, server: Scripted) -> None:
    server.says("POST", "/v1", SUBMITTED)
    specs = [site.spec(jid=f"job-{number}") for number in range(60)]
    for spec in specs:
        site.backend.submit(spec)
    before = len(server.asked)
    server.says("GET", "/query", (200, page([row(spec, "Running") for spec in specs[:50]])))
    server.says("POST", "/query", (200, page([row(spec, "Running") for spec in specs[50:]])))
    found = site.backend.observe([JobRef(spec.jid, spec.generation) for spec in specs])
    assert {sighting.native_state for sighting in found.values() if isinstance(sighting, Observed)} == {"Running"}
    assert len(server.asked) - before == 2


def test_a_list_has_pages(site: Site, server: Scripted) -> None:
    rows = [row(site.spec(jid=f"job-{number}"), "Running") for number in range(5)]
    server.says("GET", "/query", (200, page(rows[:3], 5)), (200, page(rows[3:], 5)))
    assert len(list(site.backend.owned())) == 5
    pages = [path for method, path, _ in server.asked if method == "GET" and "/query" in path]
    assert ["page=1&" in path for path in pages] == [True, False]


@pytest.mark.parametrize("answer", [(200, "<html>"), (200, "[]"), (302, "")])
def test_an_answer_that_is_none_says_nothing_of_jobs(
    site: Site, server: Scripted, spec: JobSpec, answer: tuple[int, str]
) -> None:
    server.says("POST", "/query", answer)
    with pytest.raises(Unparseable):
        site.look(spec)


def page(rows: list[dict[str, object]], total: int | None = None) -> str:
    return json.dumps({"results": rows, "totalResultsCount": len(rows) if total is None else total})
