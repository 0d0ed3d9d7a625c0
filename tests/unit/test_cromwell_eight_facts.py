"""The facts of a real Cromwell that bite, each against the backend: its answers, and what a life of it does to jobs.

Where time matters a fake lives as a real one was recorded to live; where one answer matters, it is that recording.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from backends._cromwell import facts, looks
from backends._cromwell.client import BODY_BYTES_MAX
from backends._hpc.launcher import NOT_OURS
from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import Conflict, Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, Reason, State
from testbed.processes import kill_naming
from testbed.system import wait_for
from tests.fakes.cromwell import FAST, LOCAL, FakeCromwell
from tests.unit.cromwell_recordings import RECORDED, read
from tests.unit.cromwell_server import SUBMITTED, Scripted, Site, metadata, row, serving

NEVER = 3600.0
Lives = Callable[..., tuple[FakeCromwell, Site]]


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    """A fake with its own timing, or another site, and a worker's backend over it."""
    opened: list[AbstractContextManager[FakeCromwell]] = []
    sites: list[Site] = []

    def make(site: dict[str, object] | None = None, **timing: float) -> tuple[FakeCromwell, Site]:
        cromwell = FakeCromwell(tmp_path / "cromwell", LOCAL.but(timing=replace(FAST, **timing), **(site or {})))
        opened.append(cromwell)
        cromwell.__enter__()
        ours = Site(tmp_path, cromwell.url)
        ours.backend.open()
        sites.append(ours)
        return cromwell, ours

    yield make
    for cromwell in opened:
        cromwell.__exit__(None, None, None)
    kill_naming(tmp_path)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serving(Scripted()) as scripted:
        yield scripted


@pytest.fixture
def site(tmp_path: Path, server: Scripted) -> Site:
    return opened(Site(tmp_path, server.url))


def opened(site: Site) -> Site:
    site.backend.open()
    return site


def seen(site: Site, spec: JobSpec, *states: State) -> Observed:
    """Wait for a state; whatever comes before, the job is never denied."""

    def look() -> Observed | None:
        found = site.look(spec)
        assert isinstance(found, Observed), found
        return found if found.state in states else None

    found: Observed = wait_for(f"{spec.jid} in {states}", look)
    return found


# 1. After the 201 the id is unknown for seconds


def test_a_job_is_never_denied_though_cromwell_does_not_show_it(lives: Lives) -> None:
    cromwell, site = lives(metadata_summary_s=NEVER, new_workflow_poll_s=NEVER)
    spec = site.spec("sh", "-c", "exit 3")
    site.backend.submit(spec)
    assert list(cromwell.store.all()), "it is there"
    assert seen(site, spec, State.PENDING).message == "accepted by Cromwell, which does not show it yet"
    cromwell.hurry("new_workflow_poll_s")
    assert seen(site, spec, *TERMINAL).exit_code == 3


def test_a_job_can_be_ended_while_cromwell_does_not_show_it(lives: Lives) -> None:
    _, site = lives(metadata_summary_s=NEVER, new_workflow_poll_s=NEVER)
    spec = site.spec()
    site.backend.submit(spec)
    assert site.backend.remove(spec.jid, spec.generation)
    assert site.look(spec) == Absent()


# 2. A repeated POST is refused with one of two texts


@pytest.mark.parametrize("text", ["already in use", "UC_WORKFLOW_STORE_ENTRY_WEU"])
def test_what_is_there_already_is_adopted(site: Site, server: Scripted, text: str) -> None:
    answers = (RECORDED / "12d-post-same-id-concurrently.txt").read_text().split("400")
    refusal = next(answer for answer in answers if text in answer)
    server.says("POST", "/v1", (400, refusal[refusal.index('{  "status": "fail"') :]))
    spec = site.spec()
    handle = site.backend.submit(spec)
    assert handle.data == {"workflow": row(spec, "")["id"]}
    assert site.backend.submit(spec) == handle
    assert server.count("POST", "/api/workflows/v1") - server.count("POST", "/query") == 1, "it is known from then on"


def test_what_is_there_already_is_adopted_only_if_it_is_the_same_job(site: Site, server: Scripted) -> None:
    spec = site.spec()
    server.says_recorded("POST", "/v1", "12b-post-same-id-after-succeeded")
    server.shows(row(spec, "Running", digest="another"))
    with pytest.raises(Conflict):
        site.backend.submit(spec)


def test_what_is_there_already_is_adopted_before_all_its_labels_are_known(site: Site, server: Scripted) -> None:
    spec = site.spec()
    server.says_recorded("POST", "/v1", "12b-post-same-id-after-succeeded")
    known = row(spec, "Running")
    own = known["labels"]["cromwell-workflow-id"]
    server.shows(known | {"labels": {"cromwell-workflow-id": own}})
    assert site.backend.submit(spec).data == {"workflow": known["id"]}


# 3. Only workflows of one hog group are started at once


def test_twenty_jobs_start_at_once(lives: Lives) -> None:
    cromwell, site = lives(new_workflow_poll_s=NEVER)
    for number in range(20):
        site.backend.submit(site.spec(jid=f"job-{number}"))
    cromwell.hurry("new_workflow_poll_s")
    engine = cromwell.engine
    assert engine is not None
    assert len(engine.started) == 20, "a poll starts all that wait, not one of them"
    assert {workflow.hog_group for workflow in cromwell.workflows} == {"pman-pman"}


# 4. An abort only marks the workflow: its call may yet be submitted


@pytest.mark.parametrize("how", ["end", "remove"])
def test_a_call_that_is_submitted_after_its_abort_runs_nothing(lives: Lives, how: str) -> None:
    cromwell, site = lives(token_period_s=NEVER, abort_scan_s=NEVER)
    spec = site.spec("sh", "-c", 'echo ran > "$0/ran"')
    site.backend.submit(spec)
    wait_for("a workflow that runs", lambda: cromwell.workflows[0].state == "Running")
    assert getattr(site.backend, how)(spec.jid, spec.generation) in {None, False}
    wait_for("its call waits for a token", lambda: cromwell.workflows[0].call)
    cromwell.hurry("token_period_s")
    return_code = next_return_code(cromwell, spec)
    assert return_code == str(NOT_OURS), "its launcher has run, and left"
    assert not (site.store / "job" / "out" / "ran").exists()


def next_return_code(cromwell: FakeCromwell, spec: JobSpec) -> str:
    path = cromwell.site.root / "pman" / row(spec, "")["id"] / "call-job" / "execution" / "rc"
    text: str = wait_for("the end of the call", lambda: path.exists() and path.read_text().strip())
    return text


# 5. Causes have no stderr, return codes are invented, a rejected sbatch has neither


def test_the_message_of_a_failed_job_is_its_exit_code(lives: Lives) -> None:
    _, site = lives()
    spec = site.spec("sh", "-c", "exit 7")
    site.backend.submit(spec)
    found = seen(site, spec, *TERMINAL)
    assert (found.reason, found.exit_code, found.message) == (Reason.NONZERO_EXIT, 7, "exit code 7")


def test_a_job_that_was_killed_by_hand_has_no_exit_code(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LAST_WORD_S", 0.2)
    monkeypatch.setattr(facts, "SILENCE_S", 0.2)
    cromwell, site = lives()
    spec = site.spec("sh", "-c", "sleep 60; exit 0", jid="killed")
    site.backend.submit(spec)
    seen(site, spec, State.RUNNING)
    wait_for("the job's id", lambda: cromwell.workflows[0].job_id)
    kill = ["pkill", "-KILL", "-s", str(cromwell.workflows[0].job_id)]
    # One that is just being forked may be missed.
    wait_for("nobody left to kill", lambda: subprocess.run(kill, check=False).returncode == 1)
    found = seen(site, spec, *TERMINAL)
    assert next_return_code(cromwell, spec) == "79"
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "ended from outside" in found.message


def test_a_job_that_is_not_found_once_runs_on(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LAST_WORD_S", 0.0)
    away = {"check_alive": "exit 1", "exit_code_timeout_s": 0.2, "run_in_background": False}
    cromwell, site = lives(
        site={**away, "submit": "setsid bash ${script} </dev/null >/dev/null 2>&1 & echo Submitted batch job $!"}
    )
    spec = site.spec("sh", "-c", 'until [ -e "$0/go" ]; do sleep 0.1; done')
    site.backend.submit(spec)
    wait_for("Cromwell has given it up", lambda: next_return_code(cromwell, spec) == "79")
    wait_for("pman is told of it", lambda: "lost sight" in seen(site, spec, State.RUNNING).message)
    (site.store / spec.request.output_dir / "go").touch()
    found = seen(site, spec, *TERMINAL)
    assert (found.state, found.exit_code) == (State.SUCCEEDED, 0)


def test_a_refusal_of_the_batch_system_is_told_in_its_words(lives: Lives) -> None:
    words = "sbatch: error: Batch job submission failed: Invalid partition name specified"
    _, site = lives(site={"submit": f"echo '{words}' >&2; exit 1 # ${{script}}"})
    spec = site.spec()
    site.backend.submit(spec)
    found = seen(site, spec, *TERMINAL)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.REJECTED, None)
    assert words in found.message
    assert words in site.backend.logs(JobRef(spec.jid, spec.generation), 10, 1000)


# 6. An end is noticed late


def test_an_end_is_told_before_cromwell_has_noticed_it(lives: Lives) -> None:
    cromwell, site = lives(poll_initial_s=NEVER, poll_max_s=NEVER)
    spec = site.spec()
    site.backend.submit(spec)
    assert seen(site, spec, *TERMINAL).state is State.SUCCEEDED
    assert cromwell.workflows[0].state == "Running"


# 7. The server is restarted


def test_a_restart_changes_nothing_and_runs_nothing_twice(lives: Lives) -> None:
    cromwell, site = lives()
    spec = site.spec("sh", "-c", 'echo ran >> "$0/runs"; until [ -e "$0/go" ]; do sleep 0.05; done; exit 4')
    site.backend.submit(spec)
    seen(site, spec, State.RUNNING)
    cromwell.stop()
    for call in (lambda: site.look(spec), lambda: list(site.backend.owned()), lambda: site.backend.submit(site.spec())):
        with pytest.raises(Unavailable, match="does not answer"):
            call()
    assert not site.backend.health().ok
    cromwell.start()
    assert seen(site, spec, State.RUNNING).started_at is not None
    (site.store / "job" / "out" / "go").touch()
    assert seen(site, spec, *TERMINAL).exit_code == 4
    assert (site.store / "job" / "out" / "runs").read_text() == "ran\n"


def test_after_a_kill_an_end_is_told_though_the_workflow_stays_running(lives: Lives) -> None:
    cromwell, site = lives(heartbeat_ttl_s=NEVER)
    spec = site.spec("sh", "-c", 'until [ -e "$0/go" ]; do sleep 0.05; done; exit 5')
    site.backend.submit(spec)
    seen(site, spec, State.RUNNING)
    cromwell.kill()
    cromwell.start()
    (site.store / "job" / "out" / "go").touch()
    assert seen(site, spec, *TERMINAL).exit_code == 5
    assert cromwell.workflows[0].state == "Running"


def test_a_second_run_that_leaves_is_not_the_end_of_the_first(site: Site, server: Scripted) -> None:
    """A Cromwell that is killed before it has written a job's id submits the call once more."""
    server.says("POST", "/v1", SUBMITTED)
    spec = site.spec()
    site.backend.submit(spec)
    long_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    site.claim(spec, long_ago)
    server.shows(row(spec, "Failed", ended_at=long_ago))
    server.says("GET", "/metadata", metadata(spec, "Failed", returnCode=NOT_OURS, jobId="31"))
    found = site.look(spec)
    assert isinstance(found, Observed)
    assert (found.state, found.started_at) == (State.RUNNING, long_ago)
    assert "job 30 on n1" in found.message
    site.end(spec, 0, datetime.now(UTC))
    assert seen(site, spec, *TERMINAL).state is State.SUCCEEDED


# 8. The batch system calls a failed job completed


def test_a_failure_is_told_whatever_the_status_of_the_workflow_is(site: Site, server: Scripted) -> None:
    server.says("POST", "/v1", SUBMITTED)
    spec = site.spec()
    site.backend.submit(spec)
    now = datetime.now(UTC)
    site.claim(spec, now)
    site.end(spec, 9, now)
    server.shows(row(spec, "Succeeded", ended_at=now))
    found = site.look(spec)
    assert isinstance(found, Observed)
    assert (found.state, found.exit_code) == (State.FAILED, 9)


# And: 500 for what is too large, for malformed ids; 201 for a WDL that does not parse


def test_what_is_too_large_is_refused_before_a_byte_is_sent(site: Site, server: Scripted) -> None:
    spec = site.spec("true", args=["x" * 100_000] * 70)
    before = len(server.asked)
    with pytest.raises(Rejected, match=f"Cromwell takes {BODY_BYTES_MAX}"):
        site.backend.submit(spec)
    assert len(server.asked) == before
    assert site.look(spec) == Absent()


def test_what_a_smaller_limit_of_the_site_refuses_is_rejected(site: Site, server: Scripted) -> None:
    server.says_recorded("POST", "/v1", "104-post-9MB-inputs")
    spec = site.spec()
    with pytest.raises(Rejected, match="EntityStreamSizeException"):
        site.backend.submit(spec)
    assert site.look(spec) == Absent()
    assert list(site.backend.owned()) == []


@pytest.mark.parametrize("jid", ["..x", "~", "A.b-c_d", "x" * 253, "not-a-uuid"])
def test_no_id_is_ever_malformed(site: Site, server: Scripted, jid: str) -> None:
    server.says("POST", "/v1", SUBMITTED)
    spec = site.spec(jid=jid, input_dir="in", output_dir="out")
    site.backend.submit(spec)
    site.look(spec)
    site.backend.end(jid, spec.generation)
    site.backend.remove(jid, spec.generation)
    paths = [path for _, path, _ in server.asked if path.endswith("/abort")]
    asked = [json.loads(body)[0]["id"] for _, path, body in server.asked if path.endswith("/query") and body]
    ids = {*(path.split("/")[-2] for path in paths), *asked}
    assert {str(UUID(found)) for found in ids} == ids == {row(spec, "")["id"]}


def test_a_wdl_that_this_cromwell_does_not_take_is_found_out_at_the_start(tmp_path: Path, server: Scripted) -> None:
    server.says_recorded("POST", "/describe", "106-describe")
    with pytest.raises(Rejected, match="does not take pman's WDL: ERROR: Unexpected symbol"):
        opened(Site(tmp_path, server.url))


def test_a_workflow_that_cromwell_could_not_process_is_rejected(site: Site, server: Scripted) -> None:
    server.says("POST", "/v1", SUBMITTED)
    spec = site.spec()
    site.backend.submit(spec)
    server.shows(row(spec, "Failed", ended_at=datetime.now(UTC) - timedelta(minutes=1)))
    server.says_recorded("GET", "/metadata", "36-metadata-invalid-wdl")
    found = site.look(spec)
    assert isinstance(found, Observed)
    assert (found.state, found.reason) == (State.FAILED, Reason.REJECTED)
    assert read("36-metadata-invalid-wdl").json()["failures"][0]["message"] in found.message


def test_a_job_that_is_denied_later_has_metadata_no_more(site: Site, server: Scripted) -> None:
    server.says("POST", "/v1", SUBMITTED)
    spec = site.spec()
    site.backend.submit(spec)
    server.says("GET", "/metadata", metadata(spec, "Failed"))
    site.age(spec, looks.WINDOW_S + 1)
    assert site.look(spec) == Absent()
