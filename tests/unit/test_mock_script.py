"""The mock's pure half: what a script says, and how a job is at one moment."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends._mock_script import Plan, Script, SubmitError, condition_at, parse_script
from pman_core.errors import Rejected
from pman_core.states import TERMINAL, Reason, State

T0 = 1000.0


def plan(**script: object) -> Plan:
    return Plan(Script.model_validate(script), submitted_at_s=T0)


def test_without_variables_a_job_succeeds_at_once() -> None:
    condition = condition_at(Plan(parse_script({"OTHER": "x"}), T0), T0)
    assert (condition.state, condition.exit_code) == (State.SUCCEEDED, 0)
    assert condition.started_at_s == condition.finished_at_s == T0


def test_a_script_is_read_from_the_environment() -> None:
    env = {"MOCK_RUN_FOR_S": "2.5", "MOCK_SUBMIT_ERROR": "unavailable", "MOCK_LOGS_UNAVAILABLE": "yes", "PATH": "/bin"}
    assert parse_script(env) == Script(run_for_s=2.5, submit_error=SubmitError.UNAVAILABLE, logs_unavailable=True)


def test_every_fault_of_a_script_is_named_at_once() -> None:
    with pytest.raises(Rejected) as rejected:
        parse_script({"MOCK_RUN_FOR": "1", "MOCK_EXIT_CODE": "256", "MOCK_SIGNAL": "x", "MOCK_RUN_FOR_S": "inf"})
    for name in ("MOCK_RUN_FOR:", "MOCK_EXIT_CODE:", "MOCK_SIGNAL:", "MOCK_RUN_FOR_S:"):
        assert name in str(rejected.value)


def test_a_script_survives_its_file() -> None:
    script = Script(run_for_s=1.5, reason=Reason.OOM_KILLED, log="é\n", submit_error=SubmitError.CRASH_AFTER)
    assert Script.model_validate_json(script.model_dump_json()) == script


@pytest.mark.parametrize(
    ("after_s", "state"), [(0, State.PENDING), (0.9, State.PENDING), (1, State.RUNNING), (3, State.SUCCEEDED)]
)
def test_a_job_waits_runs_and_ends(after_s: float, state: State) -> None:
    assert condition_at(plan(pending_for_s=1, run_for_s=2), T0 + after_s).state is state


@pytest.mark.parametrize(
    ("script", "state", "exit_code", "reason"),
    [
        ({"exit_code": 3}, State.FAILED, 3, Reason.NONZERO_EXIT),
        ({"signal": 9}, State.FAILED, 137, Reason.SIGNALLED),
        ({"reason": "OOM_KILLED", "exit_code": 137}, State.FAILED, 137, Reason.OOM_KILLED),
        ({"reason": "CANCELLED", "exit_code": 143}, State.CANCELLED, 143, Reason.CANCELLED),
        ({"reason": "IMAGE_PULL", "run_for_s": 60}, State.FAILED, None, Reason.IMAGE_PULL),
    ],
)
def test_the_script_decides_the_end(
    script: dict[str, object], state: State, exit_code: int | None, reason: Reason
) -> None:
    condition = condition_at(plan(**script), T0)
    assert (condition.state, condition.exit_code, condition.reason) == (state, exit_code, reason)
    assert condition.message


def test_what_never_ran_has_no_start() -> None:
    assert condition_at(plan(reason="START_FAILED"), T0).started_at_s is None


def test_a_time_limit_cuts_the_run() -> None:
    limited = Plan(Script(run_for_s=60), T0, time_limit_s=5)
    assert condition_at(limited, T0 + 4.9).state is State.RUNNING
    ended = condition_at(limited, T0 + 60)
    assert (ended.reason, ended.finished_at_s) == (Reason.TIME_LIMIT, T0 + 5)


@pytest.mark.parametrize(
    ("ended_after_s", "started_at_s", "exit_code"), [(0.5, None, None), (2, T0 + 1, 137)], ids=["waiting", "running"]
)
def test_an_early_end_is_a_cancellation(
    ended_after_s: float, started_at_s: float | None, exit_code: int | None
) -> None:
    ended = Plan(Script(pending_for_s=1, run_for_s=9), T0, ended_at_s=T0 + ended_after_s)
    condition = condition_at(ended, T0 + 100)
    assert (condition.state, condition.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert (condition.started_at_s, condition.finished_at_s) == (started_at_s, T0 + ended_after_s)
    assert condition.exit_code == exit_code
    assert condition_at(ended, T0).state is State.PENDING, "it was not cancelled yet"


def test_an_end_after_the_end_changes_nothing() -> None:
    over = plan(exit_code=3)
    late = Plan(over.script, T0, ended_at_s=T0 + 1)
    assert condition_at(late, T0 + 2) == condition_at(over, T0 + 2)


def test_a_job_vanishes_or_lingers_as_told() -> None:
    assert [plan(vanish_after_s=1).is_gone(T0 + after_s) for after_s in (0.9, 1)] == [False, True]
    lingering = Plan(Script(), T0, gone_at_s=T0 + 2)
    assert [lingering.is_gone(T0 + after_s) for after_s in (1.9, 2)] == [False, True]


@settings(deadline=None)
@given(
    pending_for_s=st.floats(0, 10),
    run_for_s=st.floats(0, 10),
    limit_s=st.none() | st.floats(0.1, 10),
    ended_after_s=st.none() | st.floats(0, 20),
    looks=st.lists(st.floats(0, 40), min_size=2, max_size=8),
)
def test_a_state_never_goes_back(
    pending_for_s: float, run_for_s: float, limit_s: float | None, ended_after_s: float | None, looks: list[float]
) -> None:
    ended_at_s = None if ended_after_s is None else T0 + ended_after_s
    life = Plan(Script(pending_for_s=pending_for_s, run_for_s=run_for_s), T0, limit_s, ended_at_s)
    seen = [condition_at(life, T0 + after_s) for after_s in sorted(looks)]
    ranks = [2 if condition.state in TERMINAL else int(condition.state is State.RUNNING) for condition in seen]
    assert ranks == sorted(ranks)
    assert len({condition for condition in seen if condition.state in TERMINAL}) <= 1
