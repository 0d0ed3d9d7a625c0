"""``observe`` and ``owned`` tell what is; what they cannot know they do not make up."""

import itertools
import signal
from dataclasses import replace
from datetime import timedelta

import pytest
from cases import LASTING_S, BackendCase, look, ref_of, seen, until

from pman_core.backend import Absent, Backend, JobRef, Observed, Unknown
from pman_core.errors import Rejected, Unavailable
from pman_core.job import mint_generation
from pman_core.states import TERMINAL, Reason, State


def test_exit_code_0_is_success(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(0))
    backend.submit(spec)
    ended = seen(backend, spec)
    assert (ended.state, ended.exit_code, ended.reason) == (State.SUCCEEDED, 0, None)


@pytest.mark.parametrize("code", [1, 3, 255])
def test_another_exit_code_is_failure(case: BackendCase, backend: Backend, code: int) -> None:
    spec = case.spec(case.exit_with(code))
    backend.submit(spec)
    ended = seen(backend, spec)
    assert (ended.state, ended.exit_code, ended.reason) == (State.FAILED, code, Reason.NONZERO_EXIT)
    assert ended.message, "clients cut the log: the message says what happened"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV])
def test_death_by_signal_is_told(case: BackendCase, backend: Backend, number: signal.Signals) -> None:
    spec = case.spec(case.kill_self(number))
    backend.submit(spec)
    ended = seen(backend, spec)
    assert (ended.state, ended.exit_code, ended.reason) == (State.FAILED, 128 + number, Reason.SIGNALLED)
    assert ended.message


@pytest.mark.parametrize("looks_like_an_option", [False, True])
def test_a_command_that_is_not_there_fails(case: BackendCase, backend: Backend, looks_like_an_option: bool) -> None:
    program = case.no_such_command()
    if looks_like_an_option:
        program = replace(program, entrypoint=("--version", *program.entrypoint))
    spec = case.spec(program)
    try:
        backend.submit(spec)
    except Rejected as error:
        message, reason = str(error), error.reason
    else:
        ended = seen(backend, spec, State.FAILED)
        message, reason = ended.message, ended.reason
    assert reason is Reason.START_FAILED
    assert message


def test_times_are_utc_and_in_order(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(0))
    backend.submit(spec)
    ended = seen(backend, spec)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.started_at.utcoffset() == ended.finished_at.utcoffset() == timedelta(0)
    assert ended.started_at <= ended.finished_at


def test_a_running_job_has_begun_and_not_ended(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    backend.submit(spec)
    running = seen(backend, spec, State.RUNNING)
    assert running.started_at is not None
    assert (running.finished_at, running.exit_code, running.reason) == (None, None, None)
    until(lambda: case.alive(spec), case.patience_s, "a living process")


def test_a_state_never_goes_back(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(0.3))
    backend.submit(spec)
    states: list[State] = []

    def has_ended() -> bool:
        found = look(backend, spec)
        assert isinstance(found, Observed)
        states.append(found.state)
        return found.state in TERMINAL

    until(has_ended, case.patience_s, "the end")
    for _ in range(10):
        assert has_ended()
    order = [state for state, _ in itertools.groupby(states)]
    assert order == [state for state in (State.PENDING, State.RUNNING, State.SUCCEEDED) if state in order]


def test_an_end_stays_as_it_was(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(3))
    backend.submit(spec)
    first = seen(backend, spec)
    assert seen(backend, spec) == first
    assert seen(case.make(), spec) == first, "another worker tells another story"


def test_an_unknown_job_is_absent(case: BackendCase, backend: Backend) -> None:
    assert look(backend, case.spec(case.count_run())) == Absent()


def test_fifty_questions_have_fifty_answers(case: BackendCase, backend: Backend) -> None:
    jobs = [case.spec(case.exit_with(number % 3)) for number in range(6)]
    handles = [backend.submit(spec) for spec in jobs]
    for spec in jobs:
        seen(backend, spec)
    strangers = [JobRef(f"stranger-{number}", mint_generation()) for number in range(38)]
    others = [JobRef(spec.jid, mint_generation()) for spec in jobs]
    known = [
        ref_of(spec, handle if number % 2 else None)
        for number, (spec, handle) in enumerate(zip(jobs, handles, strict=True))
    ]
    answers = backend.observe([*strangers, *known, *others])
    assert {key for key, found in answers.items() if isinstance(found, Observed)} == {
        (ref.jid, ref.generation) for ref in known
    }
    assert [answers[ref.jid, ref.generation] for ref in (*strangers, *others)] == [Absent()] * 44
    assert len(answers) == 50


def test_no_question_has_no_answer(case: BackendCase, backend: Backend) -> None:
    assert not backend.observe([])


def test_a_handle_of_a_newer_release_is_not_guessed_at(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    newer = replace(backend.submit(spec), version=999)
    assert isinstance(look(backend, spec, newer), Unknown)
    with pytest.raises(Unavailable):
        backend.logs(ref_of(spec, newer), 10, 1000)


def test_owned_lists_every_job_with_its_spec(case: BackendCase, backend: Backend) -> None:
    done, running = case.spec(case.exit_with(3), env=("QUOTED='\"\n",)), case.spec(case.run_for(LASTING_S))
    backend.submit(done)
    backend.submit(running)
    seen(backend, done)
    seen(backend, running, State.RUNNING)
    owned = {item.observed.jid: item for item in case.make().owned()}
    assert {jid: item.spec for jid, item in owned.items()} == {done.jid: done, running.jid: running}
    assert owned[done.jid].observed == seen(backend, done)
    assert owned[running.jid].observed.state is State.RUNNING


def test_owned_leaves_out_other_instances(case: BackendCase, backend: Backend) -> None:
    stranger = case.make(pman_instance=f"{case.instance}-other")
    theirs = case.spec(case.run_for(LASTING_S), instance=f"{case.instance}-other")
    ours = case.spec(case.run_for(LASTING_S))
    stranger.submit(theirs)
    backend.submit(ours)
    assert [item.spec for item in backend.owned()] == [ours]
    assert [item.spec for item in stranger.owned()] == [theirs]


def test_owned_of_an_empty_scheduler_ends(case: BackendCase, backend: Backend) -> None:
    assert list(backend.owned()) == []
