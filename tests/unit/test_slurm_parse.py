"""What squeue, sacct and the errors of Slurm's commands are read as; the texts are recorded from a real Slurm."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends._slurm.commands import CommandTransport
from backends._slurm.errors import error_from, is_over
from backends._slurm.parse import (
    exit_from,
    jobs_from_sacct,
    jobs_from_squeue,
    minutes_of,
    moment,
    unaccounted_from_sdiag,
)
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import NativeJob
from pman_core.errors import Rejected, Unavailable, Unparseable

RECORDED = Path(__file__).parents[1] / "recorded/slurm"
LISTING = (RECORDED / "squeue.txt").read_text()
ACCOUNTED = (RECORDED / "sacct.txt").read_text()
ERRORS = json.loads((RECORDED / "errors.json").read_text())


def listed(name: str) -> NativeJob:
    return [job for job in jobs_from_squeue(LISTING) if job.name == f"pman-rec-{name}"][-1]


def accounted(name: str) -> NativeJob:
    return next(job for job in jobs_from_sacct(ACCOUNTED) if job.name == f"pman-rec-{name}")


@pytest.mark.parametrize(
    ("name", "state", "status", "signal", "reason"),
    [
        ("completed", "COMPLETED", 0, 0, ""),
        ("failed", "FAILED", 3, 0, "NonZeroExitCode"),
        ("killed", "FAILED", 0, 9, "JobLaunchFailure"),
        ("segv", "FAILED", 139, 0, "NonZeroExitCode"),
        ("oom", "OUT_OF_MEMORY", 0, 125, "OutOfMemory"),
        ("badoutput", "FAILED", 0, 53, "JobLaunchFailure"),
        ("cancelled-running", "CANCELLED", 0, 15, ""),
        ("running", "RUNNING", 0, 0, ""),
    ],
)
def test_a_listing_is_read(name: str, state: str, status: int, signal: int, reason: str) -> None:
    job = listed(name)
    assert (job.state, job.exit_status, job.signal, job.reason) == (state, status, signal, reason)
    assert job.submitted_at is not None
    assert job.submitted_at == accounted(name).submitted_at
    assert job.time_limit_minutes == 5


def test_times_that_are_only_expected_are_none() -> None:
    waiting = next(job for job in jobs_from_squeue(LISTING) if job.state == "PENDING" and job.reason == "Resources")
    assert (waiting.started_at, waiting.finished_at, waiting.nodes) == (None, None, "")
    running = listed("running")
    assert running.started_at is not None
    assert running.finished_at is None


def test_slurm_tells_a_start_of_a_job_that_was_cancelled_in_the_queue() -> None:
    """So who believes it must ask whether the job had a node: see ``judge.py``."""
    cancelled = listed("cancelled-pending")
    assert (cancelled.nodes, cancelled.started_at) == ("", cancelled.finished_at)


def test_names_and_comments_may_hold_anything() -> None:
    fields = [
        "7",
        "RUNNING",
        "None",
        "0",
        "2",
        "UNLIMITED",
        "me",
        "N/A",
        "N/A",
        "N/A",
        "n1",
        "a|b\nc",
        'say "x", | y\nz',
    ]
    (job,) = jobs_from_squeue("\x1f".join(fields) + "\x1e\n")
    assert (job.name, job.comment, job.restarts) == ("a|b\nc", 'say "x", | y\nz', 2)


@pytest.mark.parametrize("output", ["1\x1fRUNNING", "1\x1fRUNNING\x1e", LISTING[:-20], LISTING.replace("768", "x")])
def test_a_listing_that_is_cut_or_garbled_is_none(output: str) -> None:
    with pytest.raises(Unparseable):
        jobs_from_squeue(output)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("7:00", 7), ("2:03:00", 123), ("1-02:03:00", 1563), ("UNLIMITED", None), ("NOT_SET", None), ("", None)],
)
def test_a_time_limit_is_read_in_minutes(limit: str, minutes: int | None) -> None:
    assert minutes_of(limit) == minutes


def test_a_time_is_read_as_utc() -> None:
    assert moment("2026-11-25T18:15:29") == datetime(2026, 11, 25, 18, 15, 29, tzinfo=UTC)
    assert [moment(text) for text in ("N/A", "Unknown", "None")] == [None, None, None]


def test_an_empty_listing_is_one() -> None:
    assert jobs_from_squeue("") == []


def test_accounting_is_read() -> None:
    assert accounted("held").state == "CANCELLED by 0"
    assert accounted("held").started_at is None
    assert (accounted("oom").exit_status, accounted("oom").signal) == (0, 125)
    started, finished = accounted("timeout").started_at, accounted("timeout").finished_at
    assert started is not None
    assert finished is not None
    assert timedelta(minutes=1) <= finished - started <= timedelta(minutes=2)
    assert (accounted("timeout").time_limit_minutes, accounted("oom").time_limit_minutes) == (1, 5)
    with pytest.raises(Unparseable):
        jobs_from_sacct("1\x1fFAILED\n")


def test_exit_codes_are_read_in_both_spellings() -> None:
    assert [exit_from(text) for text in ("3:0", "0:9", "768", "9", "253", "N/A")] == [
        (3, 0), (0, 9), (3, 0), (0, 9), (0, 125), (None, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: f"{case['command']}-{'-'.join(case['arguments'])[:40]}")
def test_recorded_errors_are_known(case: dict[str, Any]) -> None:
    if case["command"] == "scancel" and not case["controller_away"]:
        assert all(is_over(line) for line in case["stderr"].splitlines())
    elif case["arguments"] == ["--partition=draining"]:
        assert isinstance(error_from("sbatch", case["stderr"]), Unavailable), "it is opened again one day"
    elif case["controller_away"] and case["command"] in {"squeue", "sbatch", "scancel"}:
        assert isinstance(error_from(case["command"], case["stderr"]), Unavailable)
    elif case["command"] == "sbatch":
        error = error_from("sbatch", case["stderr"])
        assert isinstance(error, Rejected)
        assert "error:" not in str(error)


def test_a_limit_on_submits_passes() -> None:
    text = (
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS"
        " policy (job submit limit, user's size and/or time limits)\n"
    )
    assert isinstance(error_from("sbatch", text), Unavailable)
    assert isinstance(error_from("sbatch", text.partition("\n")[2]), Rejected)


def test_an_unknown_error_changes_nothing() -> None:
    error = error_from("sbatch", "sbatch: error: the moon is full\n")
    assert isinstance(error, Unparseable)
    assert error.raw


def test_a_command_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    sleeper = tmp_path / "squeue"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    transport = CommandTransport(SlurmSettings(slurm_path=f"{tmp_path}:/usr/bin:/bin", slurm_timeout_s=0.2))
    with pytest.raises(Unavailable, match=r"no answer within 0\.2 s"):
        transport.jobs()


def test_nothing_of_the_environment_reaches_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "squeue"
    spy.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\n")
    spy.chmod(0o755)
    for name in ("SQUEUE_FORMAT", "SBATCH_PARTITION", "SLURM_TIME_FORMAT", "SQUEUE_STATES", "TZ", "LANG"):
        monkeypatch.setenv(name, "theirs")
    own = SlurmSettings(slurm_path=f"{tmp_path}:/usr/bin:/bin", slurm_conf=Path("/etc/x.conf"))
    assert CommandTransport(own).jobs() == []
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name: env.get(name) for name in ("LC_ALL", "TZ", "SLURM_TIME_FORMAT", "SLURM_CONF")} == {
        "LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "standard", "SLURM_CONF": "/etc/x.conf",
    }  # fmt: skip
    assert not {"SQUEUE_FORMAT", "SBATCH_PARTITION", "SQUEUE_STATES", "LANG"} & env.keys()


def test_what_waits_for_slurmdbd_is_read_from_sdiag() -> None:
    text = "Server thread count:  3\nAgent queue size:     5\nDBD Agent queue size: 12\n\nJobs submitted: 17\n"
    assert unaccounted_from_sdiag(text) == 12
    assert unaccounted_from_sdiag(text.replace("DBD Agent queue size: 12\n", "")) == 0
