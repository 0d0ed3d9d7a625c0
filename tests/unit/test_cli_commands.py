"""The command ``pman`` over a client that is told what to answer: words for people, JSON for machines, exit codes."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from pman_client import BadRequest, FieldError, Job, JobPage, JobSubmission, NotFound, PmanUnavailable, cli
from pman_client.run import exit_code, follow, new_part
from pman_client.state_folder import Note, StateFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUEUED = Job(jid="j1", image="img", cmd="true", status="notstarted", state="QUEUED", created_at=NOW)
RUNNING = replace(QUEUED, status="started", state="RUNNING", logs="one\n", started_at=NOW)
DONE = replace(
    RUNNING, status="finishedSuccessfully", state="SUCCEEDED", logs="one\ntwo\n", exit_code=0, finished_at=NOW
)
FAILED = replace(DONE, status="finishedWithError", state="FAILED", reason="NONZERO_EXIT", exit_code=7, message="code 7")


class FakeClient:
    """Stands for ``PmanClient``: answers what a test has put into it, and remembers what it was asked."""

    def __init__(self) -> None:
        self.jobs: Sequence[Job] = [DONE]
        self.error: Exception | None = None
        self.interrupt = False
        self.submitted: list[JobSubmission] = []
        self.deleted: list[str] = []
        self.urls: list[str] = []

    def __call__(self, url: str, **_: object) -> "FakeClient":
        self.urls.append(url)
        return self

    def __enter__(self) -> "FakeClient":
        if self.error:
            raise self.error
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def submit(self, submission: JobSubmission) -> Job:
        self.submitted.append(submission)
        return replace(QUEUED, jid=submission.jid, warnings=("hm: unknown key, ignored",))

    def get(self, _: str) -> Job:
        return self.jobs[-1]

    def delete(self, jid: str) -> None:
        self.deleted.append(jid)

    def list(self, **_: object) -> JobPage:
        return JobPage(tuple(self.jobs), "more")

    def info(self) -> dict[str, str]:
        return {"server_version": "7.1", "container_env": "mock"}

    def watch(self, _: str, **__: object) -> Iterator[Job]:
        yield from self.jobs
        if self.interrupt:
            raise KeyboardInterrupt

    def wait(self, _: str, **__: object) -> Job:
        return self.jobs[-1]


@pytest.fixture
def pman(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(cli, "PmanClient", fake)
    monkeypatch.delenv("PMAN_URL", raising=False)
    return fake


def call(*args: str) -> Result:
    return CliRunner().invoke(cli.app, args)


def test_run_submits_what_it_was_told(pman: FakeClient) -> None:
    options = "--input in --output out --cpu 500 --memory 64 --gpu 1 --workers 2 --env A=b --env C= --type ts --jid j9"
    result = call("run", "img", *options.split(), "--", "sh", "-c", "echo --detach")
    assert result.exit_code == 0, result.output
    assert pman.submitted == [
        JobSubmission(
            jid="j9",
            image="img",
            entrypoint=["sh"],
            args=["-c", "echo --detach"],
            input_dir="in",
            output_dir="out",
            type="ts",
            env=["A=b", "C="],
            number_of_workers=2,
            cpu_millicores=500,
            memory_mib=64,
            gpus=1,
        )
    ]


def test_run_chooses_jid_folders_and_type_when_not_told(pman: FakeClient) -> None:
    call("run", "img", "--", "true")
    call("run", "img", "--input", "in", "--", "true")
    bare, with_input = pman.submitted
    assert bare.jid != with_input.jid
    assert (bare.type, bare.input_dir, bare.output_dir) == ("fs", f"{bare.jid}/incoming", f"{bare.jid}/outgoing")
    assert with_input.type == "ds"


def test_run_shows_log_on_stdout_and_states_on_stderr(pman: FakeClient) -> None:
    pman.jobs = [QUEUED, RUNNING, DONE]
    result = call("run", "img", "--", "true")
    assert result.stdout == "one\ntwo\n"
    assert [line.split()[1].rstrip(",") for line in result.stderr.splitlines()[1:]] == [
        "QUEUED",
        "RUNNING",
        "SUCCEEDED",
    ]
    assert result.stderr.startswith("warning: hm")


def test_a_line_of_the_log_is_shown_when_it_is_whole(pman: FakeClient) -> None:
    pman.jobs = [
        replace(RUNNING, logs="one\ntw"),
        replace(RUNNING, logs="one\ntwo\nth"),
        replace(DONE, logs="one\ntwo\nth"),
    ]
    assert call("run", "img", "--", "true").stdout == "one\ntwo\nth"


def test_run_exits_as_the_job_does_and_says_why(pman: FakeClient) -> None:
    pman.jobs = [FAILED]
    result = call("run", "img", "--", "false")
    assert result.exit_code == 7
    assert "FAILED, exit code 7, NONZERO_EXIT: code 7" in result.stderr


@pytest.mark.parametrize(("options", "deleted"), [([], True), (["--keep"], False)])
def test_run_forgets_the_job_unless_told_to_keep_it(pman: FakeClient, options: list[str], deleted: bool) -> None:
    call("run", "img", "--jid", "j1", *options, "--", "true")
    assert pman.deleted == (["j1"] if deleted else [])


@pytest.mark.parametrize(("options", "deleted"), [([], True), (["--keep"], False)])
def test_ctrl_c_ends_the_job_unless_told_to_keep_it(pman: FakeClient, options: list[str], deleted: bool) -> None:
    pman.jobs, pman.interrupt = [RUNNING], True
    result = call("run", "img", "--jid", "j1", *options, "--", "true")
    assert result.exit_code == 130
    assert bool(pman.deleted) is deleted


def test_run_json_prints_the_last_record_only(pman: FakeClient) -> None:
    pman.jobs = [RUNNING, FAILED]
    result = call("run", "img", "--json", "--", "true")
    assert result.exit_code == 7
    record = json.loads(result.stdout)
    assert (record["state"], record["exit_code"], record["created_at"]) == ("FAILED", 7, "2026-01-02T03:04:05+00:00")


def test_run_detach_prints_the_jid_and_leaves_the_job(pman: FakeClient) -> None:
    result = call("run", "img", "--jid", "j9", "--detach", "--", "true")
    assert result.stdout == "j9\n"
    assert pman.deleted == []
    assert json.loads(call("run", "img", "--jid", "j9", "--detach", "--json", "--", "true").stdout)["jid"] == "j9"


def test_run_without_a_command_is_wrong_usage(pman: FakeClient) -> None:
    assert call("run", "img").exit_code == 2
    assert pman.submitted == []


def test_a_refusal_names_every_fault_and_run_exits_with_125(pman: FakeClient) -> None:
    pman.error = BadRequest("bad", [FieldError("image", "is required"), FieldError("env[0]", "must be a string")])
    result = call("run", "img", "--", "true")
    assert result.exit_code == 125
    assert "image: is required" in result.stderr
    assert "env[0]: must be a string" in result.stderr


def test_nobody_there_is_told_with_what_to_do(pman: FakeClient) -> None:
    pman.error = PmanUnavailable("no answer from x: connection refused")
    result = call("ls")
    assert result.exit_code == 1
    assert "connection refused" in result.stderr
    assert "pman up" in result.stderr


def test_an_unknown_job_is_told(pman: FakeClient) -> None:
    pman.error = NotFound("there is no job 'x'")
    result = call("status", "x")
    assert (result.exit_code, result.stderr) == (1, "there is no job 'x'\n")


def test_status_shows_the_record(pman: FakeClient) -> None:
    pman.jobs = [FAILED]
    text = call("status", "j1").stdout
    for word in ("j1", "FAILED (finishedWithError)", "NONZERO_EXIT", "7", "code 7", "0.0 s"):
        assert word in text
    assert json.loads(call("status", "j1", "--json").stdout)["reason"] == "NONZERO_EXIT"


def test_logs_prints_the_log_as_it_is(pman: FakeClient) -> None:
    pman.jobs = [replace(DONE, logs="[red]a[/]\x1b[31mb\r\n")]
    assert call("logs", "j1").stdout_bytes == b"[red]a[/]\x1b[31mb\r\n"
    assert json.loads(call("logs", "j1", "--json").stdout)["logs"] == "[red]a[/]\x1b[31mb\r\n"


def test_logs_follow_ends_with_the_job(pman: FakeClient) -> None:
    pman.jobs = [RUNNING, DONE]
    assert call("logs", "-f", "j1").stdout == "one\ntwo\n"
    assert json.loads(call("logs", "-f", "j1", "--json").stdout)["state"] == "SUCCEEDED"


def test_ls_shows_a_line_for_each_job_and_that_there_are_more(pman: FakeClient) -> None:
    pman.jobs = [DONE, FAILED]
    result = call("ls")
    assert len(result.stdout.splitlines()) == 3
    assert "--limit" in result.stderr
    assert [job["state"] for job in json.loads(call("ls", "--json").stdout)] == ["SUCCEEDED", "FAILED"]


def test_rm_deletes_each(pman: FakeClient) -> None:
    assert call("rm", "a", "b").stdout == "a\nb\n"
    assert json.loads(call("rm", "c", "--json").stdout) == {"deleted": ["c"]}
    assert pman.deleted == ["a", "b", "c"]


def test_version_with_and_without_a_server(pman: FakeClient) -> None:
    assert "server 7.1" in call("version").stdout
    pman.error = PmanUnavailable("away")
    result = call("version", "--json")
    assert (result.exit_code, json.loads(result.stdout)["server"]) == (0, None)
    assert "no server" in call("version").stdout


def test_the_server_is_named_by_option_or_environment(pman: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    call("ls")
    monkeypatch.setenv("PMAN_URL", "http://a")
    call("ls")
    call("ls", "--url", "http://b")
    assert pman.urls == ["http://127.0.0.1:5010", "http://a", "http://b"]


def test_doctor_sees_the_pman_that_is_up_and_fails_with_a_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pman: FakeClient
) -> None:
    monkeypatch.setenv("JOB_LOGS_TAIL", "0")  # the fault
    monkeypatch.setenv("STOREBASE", str(tmp_path))
    monkeypatch.setenv("PMAN_INSTANCE", "set-by-user")
    monkeypatch.setenv("CONTAINER_ENV", "")
    note = Note(os.getpid(), "http://x", {"PMAN_INSTANCE": "Not Valid!", "CONTAINER_ENV": "mock"})
    StateFolder(tmp_path).write_note(note)
    result = call("doctor", "--state", str(tmp_path))
    assert result.exit_code == 1
    assert "fail settings: JOB_LOGS_TAIL" in result.stdout
    assert "->" in result.stdout
    rows = json.loads(call("doctor", "--state", str(tmp_path), "--json").stdout)
    assert [(row["verdict"], row["subject"]) for row in rows] == [("fail", "settings")]


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (DONE, 0),
        (FAILED, 7),
        (replace(FAILED, exit_code=137), 137),
        (replace(FAILED, exit_code=None), 1),
        (replace(FAILED, exit_code=0), 1),
        (replace(FAILED, exit_code=4096), 1),
        (replace(FAILED, status="undefined", state="LOST", exit_code=None), 1),
    ],
)
def test_the_exit_code_is_never_0_for_a_failure(job: Job, code: int) -> None:
    assert exit_code(job) == code


@pytest.mark.parametrize(
    ("shown", "log", "new"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("a\n", "a\n", ""),
        ("a\nb\nc\n", "b\nc\nd\n", "d\n"),  # the window has moved
        ("a\nb\n", "x\ny\n", "x\ny\n"),  # and by more than itself
        ("aaa\nb\nc\n", "a\nb\nc\nd\n", "d\n"),  # and begins within a line
        ("par", "partial\n", "tial\n"),
        ("a\n", "", ""),
    ],
)
def test_only_what_is_new_of_a_log_is_shown(shown: str, log: str, new: str) -> None:
    assert new_part(shown, log) == new


def test_a_person_sees_a_spinner_and_no_escape_of_the_job() -> None:
    out, err = (Console(force_terminal=True, record=True, width=80) for _ in range(2))
    with out.capture() as shown, err.capture() as told:
        follow([QUEUED, replace(DONE, logs="\x1b]0;title\x07\x1b[2Jred\n")], out, err)
    assert "SUCCEEDED" in told.get()
    assert "red" in told.get(), "on one terminal, the log goes around the spinner"
    assert shown.get() == ""
    for escape in ("\x1b[2J", "\x1b]0"):
        assert escape not in told.get()
