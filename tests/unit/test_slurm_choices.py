"""Which of several runs of a job, of several words for its state, and of several ends of it counts on Slurm."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backends._hpc.job_folder import Noted
from backends._hpc.outcome import Claim, End, Verdict
from backends._slurm.judge import Known, Present, judge
from backends._slurm.parse import FIELD_END, RECORD_END, SQUEUE_FIELDS, jobs_from_squeue
from backends._slurm.rest_replies import job_from, job_id_from
from backends._slurm.state import STATES, Stage, chief_state
from backends._slurm.transport import NativeJob
from pman_core.backend import Absent
from pman_core.states import Reason, State
from tests.unit.slurmrestd_replies import modern_job, number

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
BEGAN, ENDED = NOW - timedelta(minutes=9), NOW - timedelta(minutes=5)
LONG_AGO = (NOW - timedelta(hours=1)).timestamp()
WAITS = """CONFIGURING EXPEDITING PENDING POWER_UP_NODE REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD
SPECIAL_EXIT"""
RUNS = "COMPLETING RESIZING RUNNING SIGNALING STAGE_OUT STOPPED SUSPENDED UPDATE_DB"
"""What the manuals say of the states that are no ends: in which of them a job has nodes that run it."""
CANCELLED = Verdict(State.CANCELLED, Reason.CANCELLED, "ended on request", "", None, BEGAN, ENDED)


def native(state: str, job_id: int = 7, **fields: int | str | datetime | None) -> NativeJob:
    times = {"nodes": "n1", "started_at": BEGAN, "finished_at": ENDED}
    return NativeJob(job_id, state, **(times | fields))  # type: ignore[arg-type]


def known(*listed: NativeJob, claimed: str = "7") -> Known:
    claim = Claim(claimed, "n1", BEGAN) if claimed else None
    return Known(noted=(Noted("7", LONG_AGO),), claim=claim, listed=listed)


def end_of(code: int | None, cause: str = "exited", native_id: str = "7") -> End:
    return End(cause, code, "", native_id, "n1", BEGAN, ENDED)


def judged(facts: Known) -> Verdict:
    verdict = judge(facts, NOW)
    assert isinstance(verdict, Verdict), verdict
    return verdict


def test_how_far_a_job_is_in_every_state_of_the_manuals() -> None:
    assert {word for word, meaning in STATES.items() if meaning.stage is Stage.WAITS} == set(WAITS.split())
    assert {word for word, meaning in STATES.items() if meaning.stage is Stage.RUNS} == set(RUNS.split())


@pytest.mark.parametrize(
    "flag", ["COMPLETING", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED", "REQUEUED", "CONFIGURING", "RESIZING"]
)
def test_a_flag_that_says_that_a_job_is_not_over_counts_wherever_it_is(flag: str) -> None:
    assert chief_state(["FAILED", flag]) == chief_state([flag, "FAILED"]) == flag
    assert chief_state([flag, "COMPLETING"]) == "COMPLETING"


@pytest.mark.parametrize("others", [(6, 8), (8, 6)])
def test_of_runs_without_a_claim_the_one_that_ran_to_some_end_counts(others: tuple[int, int]) -> None:
    refused, ran = (native("FAILED", others[0], exit_status=113), native("FAILED", others[1], exit_status=3))
    assert judged(known(refused, ran, claimed="")).exit_code == 3


def test_of_two_that_ran_the_later_one_counts() -> None:
    jobs = native("FAILED", 6, exit_status=3), native("FAILED", 8, exit_status=4)
    assert judged(known(*jobs, claimed="")).exit_code == judged(known(*reversed(jobs), claimed="")).exit_code == 4


def test_an_end_that_another_run_wrote_is_not_this_ones() -> None:
    facts = replace(known(native("FAILED", exit_status=3)), end=end_of(0, native_id="6"))
    assert (judged(facts).state, judged(facts).exit_code) == (State.FAILED, 3)


@pytest.mark.parametrize("other", [native("RUNNING", 8), native("PENDING"), native("PENDING", 8)])
def test_a_verdict_is_told_as_soon_as_the_run_that_it_is_about_does_not_run(other: NativeJob) -> None:
    assert judged(replace(known(other), verdict=CANCELLED)) == CANCELLED


def test_a_verdict_is_not_told_while_any_run_goes_on_that_may_be_the_job() -> None:
    present = judge(replace(known(native("RUNNING", 8), claimed=""), verdict=CANCELLED), NOW)
    assert isinstance(present, Present)
    assert (present.state, present.message) == (State.RUNNING, "it is being ended")


def test_accounting_explains_what_the_launcher_of_a_job_has_written_while_it_was_killed() -> None:
    """Its heart beat just before."""
    facts = replace(known(), accounted={7: native("NODE_FAIL")}, end=end_of(143), beat_at_s=NOW.timestamp() - 5)
    assert judged(facts).reason is Reason.NODE_FAIL


def test_a_job_that_slurm_could_not_launch_has_not_started_whatever_code_it_has() -> None:
    verdict = judged(known(native("FAILED", exit_status=1, reason="JobLaunchFailure"), claimed=""))
    assert (verdict.reason, verdict.exit_code) == (Reason.START_FAILED, None)


def test_an_end_without_a_code_leaves_slurms_signal() -> None:
    facts = replace(known(native("OUT_OF_MEMORY", signal=125)), end=end_of(None, "start_failed"))
    assert (judged(facts).reason, judged(facts).exit_code) == (Reason.OOM_KILLED, 137)


def test_a_job_has_not_started_after_it_ended() -> None:
    """Slurm's clocks, and those of its nodes, are several."""
    verdict = judged(known(native("FAILED", exit_status=3, started_at=ENDED + timedelta(seconds=2))))
    assert verdict.started_at == verdict.finished_at == ENDED


def test_an_id_that_was_noted_in_the_future_is_not_for_ever_too_new_to_be_listed() -> None:
    later = (NOW + timedelta(hours=1)).timestamp()
    assert judge(Known(noted=(Noted("7", later),)), NOW) == Absent()


@pytest.mark.parametrize("state", ["REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RQ", "CONFIGURING", "PENDING"])
def test_the_time_at_which_a_job_is_expected_to_begin_again_is_not_when_it_began(state: str) -> None:
    values = dict.fromkeys(SQUEUE_FIELDS, "") | {"JobID": "7", "State": state, "RestartCnt": "1"}
    values |= {"StartTime": "2026-11-25T12:00:00", "EndTime": "2026-11-25T13:00:00"}
    [job] = jobs_from_squeue(FIELD_END.join(values[name] for name in SQUEUE_FIELDS) + RECORD_END)
    assert (job.state, job.started_at, job.finished_at) == (state, None, None)


def test_who_was_killed_by_a_signal_has_no_exit_status() -> None:
    code = {"status": ["SIGNALED"], "return_code": number(0), "signal": {"id": number(9), "name": "KILL"}}
    job = job_from(modern_job(43, "FAILED") | {"exit_code": code})
    assert (job.exit_status, job.signal) == (None, 9)


def test_a_submit_that_was_given_no_id_is_not_taken_for_done() -> None:
    assert job_id_from({"job_id": 0, "result": {"job_id": 7}}) == job_id_from({"job_id": 7}) == 7
    with pytest.raises(ValueError, match="the id is 0"):
        job_id_from({"job_id": 0, "errors": []})
