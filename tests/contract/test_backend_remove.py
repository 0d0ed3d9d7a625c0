"""``remove`` ends a job at once, whole and for good, and nothing else."""

import time

from cases import LASTING_S, BackendCase, look, seen, until

from pman_core.backend import Absent, Backend, Observed, Unknown
from pman_core.job import JobSpec, mint_generation
from pman_core.states import TERMINAL, Reason, State

TRIES = 3
"""Who asks a job to end, and waits, is slow each time; what else the machine is at passes."""


def started(case: BackendCase, backend: Backend, jid: str = "") -> JobSpec:
    spec = case.spec(case.run_for(LASTING_S), jid=jid)
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    until(lambda: case.alive(spec), case.patience_s, "a living process")
    return spec


def gone(case: BackendCase, backend: Backend, spec: JobSpec) -> None:
    until(lambda: look(backend, spec) == Absent(), case.patience_s, f"{spec.jid} absent")


def test_a_running_job_and_its_children_end_promptly(case: BackendCase, backend: Backend) -> None:
    took_s = []
    for _ in range(TRIES):
        spec = started(case, backend)
        began_s = time.monotonic()
        backend.remove(spec.jid, spec.generation)
        removed_s = time.monotonic()
        until(lambda spec=spec: not case.alive(spec), case.patience_s, "the whole process tree ended")  # type: ignore[misc]
        took_s.append(max(removed_s - began_s, time.monotonic() - removed_s))
        gone(case, backend, spec)
        if took_s[-1] < case.prompt_s:
            break
    assert min(took_s) < case.prompt_s


def test_another_worker_can_remove_it(case: BackendCase, backend: Backend) -> None:
    spec = started(case, backend)
    case.make().remove(spec.jid, spec.generation)
    until(lambda: not case.alive(spec), case.patience_s, "the whole process tree ended")
    gone(case, backend, spec)


def test_a_finished_job_is_removed(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(3))
    backend.submit(spec)
    seen(backend, spec)
    backend.remove(spec.jid, spec.generation)
    gone(case, backend, spec)
    assert list(backend.owned()) == []


def test_remove_twice_is_a_success(case: BackendCase, backend: Backend) -> None:
    spec = started(case, backend)
    backend.remove(spec.jid, spec.generation)
    backend.remove(spec.jid, spec.generation)
    gone(case, backend, spec)
    backend.remove(spec.jid, spec.generation)
    backend.end(spec.jid, spec.generation)
    assert look(backend, spec) == Absent()


def test_a_confirmed_removal_is_true(case: BackendCase, backend: Backend) -> None:
    running, ended = started(case, backend), case.spec(case.exit_with(3))
    backend.submit(ended)
    seen(backend, ended)
    for spec in (running, ended):
        if backend.remove(spec.jid, spec.generation):
            assert look(backend, spec) == Absent(), "said to be gone"
            assert look(case.make(), spec) == Absent(), "said to be gone"
            until(lambda spec=spec: not case.alive(spec), case.patience_s, "no process left")  # type: ignore[misc]


def test_remove_of_an_unknown_job_is_a_success(case: BackendCase, backend: Backend) -> None:
    backend.remove("nobody", mint_generation())
    backend.end("nobody", mint_generation())


def test_a_kept_object_is_there_and_cancelled(case: BackendCase, backend: Backend) -> None:
    spec = started(case, backend)
    backend.end(spec.jid, spec.generation)
    until(lambda: not case.alive(spec), case.patience_s, "the whole process tree ended")
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert ended.finished_at is not None
    assert [item.spec for item in backend.owned()] == [spec]
    assert seen(case.make(), spec) == ended


def test_a_kept_object_keeps_the_end_it_had(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(3))
    backend.submit(spec)
    before = seen(backend, spec)
    backend.end(spec.jid, spec.generation)
    assert seen(backend, spec) == before


def test_a_kept_object_is_not_run_again(case: BackendCase, backend: Backend) -> None:
    """A worker that slept before its submit comes too late: the name is taken."""
    spec = started(case, backend)
    backend.end(spec.jid, spec.generation)
    before = seen(backend, spec, State.CANCELLED)
    case.make().submit(spec)
    assert look(backend, spec) == before
    assert not case.alive(spec)


def test_a_removed_job_is_absent_by_its_handle_too(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(0))
    handle = backend.submit(spec)
    seen(backend, spec)
    backend.remove(spec.jid, spec.generation)
    until(lambda: look(backend, spec, handle) == Absent(), case.patience_s, "absent by its handle")


def test_a_kept_object_can_be_removed_later(case: BackendCase, backend: Backend) -> None:
    spec = started(case, backend)
    backend.end(spec.jid, spec.generation)
    backend.remove(spec.jid, spec.generation)
    gone(case, backend, spec)


def test_another_generation_is_not_touched(case: BackendCase, backend: Backend) -> None:
    old, new = started(case, backend, jid="again"), started(case, backend, jid="again")
    backend.remove(old.jid, old.generation)
    backend.remove(old.jid, mint_generation())
    gone(case, backend, old)
    assert case.alive(new)
    assert seen(backend, new, State.RUNNING)


def test_another_job_is_not_touched(case: BackendCase, backend: Backend) -> None:
    victim, bystander = started(case, backend, jid="job"), started(case, backend, jid="job-2")
    backend.remove(victim.jid, victim.generation)
    gone(case, backend, victim)
    backend.remove("another-jid", bystander.generation)
    assert case.alive(bystander)
    assert seen(backend, bystander, State.RUNNING)


def test_a_job_removed_while_it_starts_ends(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    backend.submit(spec)
    backend.remove(spec.jid, spec.generation)
    gone(case, backend, spec)
    until(lambda: not case.alive(spec), case.patience_s, "no process left")


def test_a_job_cancelled_while_it_starts_ends(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    backend.submit(spec)
    backend.end(spec.jid, spec.generation)
    found = until(lambda: ended(backend, spec), case.patience_s, "an end, or nothing at all")
    assert isinstance(found, Absent) or found.state is State.CANCELLED
    until(lambda: not case.alive(spec), case.patience_s, "no process left")


def ended(backend: Backend, spec: JobSpec) -> Observed | Absent | None:
    found = look(backend, spec)
    if isinstance(found, Unknown):  # its end is being written: nothing may be concluded, and it must pass
        return None
    return found if isinstance(found, Absent) or found.state in TERMINAL else None
