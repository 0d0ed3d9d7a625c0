"""Why a job has ended that was killed, or of which the launcher says nothing: from words that were recorded."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backends._cromwell.failure import told_by_batch_system, verdict_without_launcher
from backends._cromwell.replies import Account, read_account
from backends._hpc.outcome import Claim, Verdict
from pman_core.states import Reason, State
from tests.unit.cromwell_recordings import RECORDED, read

BEGAN, ENDED = datetime(2026, 11, 23, 1, 8, 20, tzinfo=UTC), datetime(2026, 11, 23, 1, 9, 7, tzinfo=UTC)
CLAIM = Claim(native_id="30", host="n1", at=BEGAN)
FAILED = Account("Failed", ("Workflow failed", "Job pman.job:NA:1 exited with return code 9"), 9, ended_at=ENDED)
INVENTED = replace(FAILED, return_code=79)
SCANCELLED = (RECORDED / "98-slurm-external-scancel.txt").read_text().splitlines()[-1]
KILLED = Verdict(State.FAILED, Reason.SIGNALLED, "ended by signal 9 (SIGKILL)", "exited", 137, BEGAN, ENDED)

STEP = "slurmstepd: error: *** JOB 30 ON n1 CANCELLED AT 2026-11-23T01:08:32"
NOTES: list[tuple[str, State, Reason]] = [
    (SCANCELLED, State.CANCELLED, Reason.CANCELLED),
    (f"{STEP} DUE TO TIME LIMIT ***", State.FAILED, Reason.TIME_LIMIT),
    (f"{STEP} DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", State.FAILED, Reason.NODE_FAIL),
    (f"{STEP} DUE TO PREEMPTION ***", State.FAILED, Reason.NODE_FAIL),
    (
        "slurmstepd: error: Detected 1 oom_kill event in StepId=30.batch. Some of the step tasks have been OOM Killed.",
        State.FAILED,
        Reason.OOM_KILLED,
    ),
    ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=30.batch", State.FAILED, Reason.OOM_KILLED),
    (
        "slurmstepd: error: Job 30 exceeded memory limit (9 > 8)\nExceeded job memory limit",
        State.FAILED,
        Reason.OOM_KILLED,
    ),
]


@pytest.mark.parametrize(("notes", "state", "reason"), NOTES, ids=[str(reason) for _, _, reason in NOTES])
def test_a_batch_system_says_why_it_killed(notes: str, state: State, reason: Reason) -> None:
    told = told_by_batch_system(f"pman: something else\n{notes}\n", KILLED, None)
    assert (told.state, told.reason, told.exit_code, told.finished_at) == (state, reason, 137, ENDED)
    assert notes.splitlines()[-1][:40] in told.message


@pytest.mark.parametrize(
    ("limit_s", "message"),
    [
        (40, "ended at its time limit of 40 s: slurmstepd"),
        (57, "ended at its time limit of 57 s: slurmstepd"),  # its launcher began to count 10 s later
        (58, "ended by the time limit of the batch system: slurmstepd"),
        (3600, "ended by the time limit of the batch system: slurmstepd"),  # which was a shorter one
        (None, "ended by the time limit of the batch system: slurmstepd"),
    ],
)
def test_a_time_limit_that_a_batch_system_has_kept_is_named_if_it_was_the_jobs_own(
    limit_s: float | None, message: str
) -> None:
    assert told_by_batch_system(f"{STEP} DUE TO TIME LIMIT ***", KILLED, limit_s).message.startswith(message)


def test_a_job_that_has_not_begun_has_not_run_for_as_long_as_it_has_waited() -> None:
    account, notes = replace(FAILED, started_at=BEGAN), f"{STEP} DUE TO TIME LIMIT ***"
    assert verdict_without_launcher(account, CLAIM, notes, 40).message.startswith("ended at its time limit of 40 s")
    told = verdict_without_launcher(account, None, notes, 40).message
    assert told.startswith("ended by the time limit of the batch system")


def test_without_its_words_a_kill_is_a_signal() -> None:
    assert told_by_batch_system("", KILLED, None) == KILLED
    assert told_by_batch_system("pman: another run has claimed the job", KILLED, None) == KILLED


def test_an_invented_return_code_is_no_exit_code() -> None:
    recorded = next(
        line for line in (RECORDED / "98-slurm-external-scancel.txt").read_text().splitlines() if '"calls"' in line
    )
    account = read_account(recorded.encode())
    assert account.return_code == 79
    told = verdict_without_launcher(account, CLAIM, SCANCELLED, None)
    assert (told.state, told.reason, told.exit_code) == (State.CANCELLED, Reason.CANCELLED, None)
    untold = verdict_without_launcher(account, CLAIM, "", None)
    assert (untold.state, untold.reason, untold.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "on n1" in untold.message
    assert "79 is Cromwell's invention" in untold.message


def test_a_rejected_sbatch_has_its_words_in_the_message() -> None:
    account = read_account(read("99-slurm-sbatch-rejected").body.encode())
    notes = "sbatch: error: Batch job submission failed: Requested node configuration is not available"
    verdict = verdict_without_launcher(account, None, notes, None)
    assert (verdict.state, verdict.reason, verdict.exit_code) == (State.FAILED, Reason.REJECTED, None)
    assert notes in verdict.message
    assert "Unable to start job" in verdict.message


@pytest.mark.parametrize("name", ["36-metadata-invalid-wdl", "36c-metadata-missing-input"])
def test_what_cromwell_cannot_process_is_rejected_with_the_innermost_cause(name: str) -> None:
    account = read_account(read(name).body.encode())
    verdict = verdict_without_launcher(account, None, "", None)
    assert (verdict.state, verdict.reason) == (State.FAILED, Reason.REJECTED)
    assert account.messages[-1][:60] in verdict.message


def test_a_job_that_was_lost_while_cromwell_was_away() -> None:
    lines = (RECORDED / "84-ended-or-lost-while-down-slurm.txt").read_text().splitlines()
    recorded = json.loads(lines[-1]) | {"status": "Failed"}
    verdict = verdict_without_launcher(read_account(json.dumps(recorded).encode()), CLAIM, "", None)
    assert (verdict.state, verdict.reason, verdict.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert "Unable to determine that 153 is alive" in verdict.message


def test_an_abort_by_somebody_else_is_a_cancellation() -> None:
    account = read_account(read("97b-slurm-metadata-aborted").body.encode())
    verdict = verdict_without_launcher(account, CLAIM, "", None)
    assert (verdict.state, verdict.reason, verdict.started_at) == (State.CANCELLED, Reason.CANCELLED, BEGAN)


def test_a_launcher_that_could_not_write_leaves_the_exit_code_to_cromwell() -> None:
    verdict = verdict_without_launcher(FAILED, CLAIM, "", None)
    assert (verdict.state, verdict.reason, verdict.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)
    assert "the exit code is Cromwell's" in verdict.message
    success = verdict_without_launcher(replace(FAILED, status="Succeeded", return_code=0), CLAIM, "", None)
    assert (success.state, success.reason, success.exit_code) == (State.SUCCEEDED, None, 0)


def test_a_node_without_the_store_is_named() -> None:
    notes = "pman: /srv/launcher is not there on n1: is the store mounted?"
    verdict = verdict_without_launcher(replace(FAILED, return_code=112), None, notes, None)
    assert (verdict.reason, verdict.exit_code) == (Reason.NODE_FAIL, None)
    assert notes in verdict.message


def test_a_job_that_has_not_begun_has_no_exit_code() -> None:
    verdict = verdict_without_launcher(FAILED, None, "", None)
    assert (verdict.state, verdict.reason, verdict.exit_code) == (State.FAILED, Reason.START_FAILED, None)


@pytest.mark.parametrize("account", [Account("Aborted", started_at=BEGAN), replace(FAILED, started_at=BEGAN), INVENTED])
@pytest.mark.parametrize("claim", [None, CLAIM])
def test_what_never_began_has_no_start_and_no_exit_code(account: Account, claim: Claim | None) -> None:
    """To Cromwell it runs as soon as it has a job, and it may have had one that was still fetching its image."""
    verdict = verdict_without_launcher(account, claim, "", None, has_begun=False)
    assert (verdict.started_at, verdict.exit_code) == (None, None)
    assert verdict.message


def test_a_message_is_never_empty_and_never_long() -> None:
    for account in (Account("Failed"), replace(INVENTED, messages=("x" * 9999,)), Account("Aborted")):
        for claim in (None, CLAIM):
            assert 0 < len(verdict_without_launcher(account, claim, "", None).message) < 800
