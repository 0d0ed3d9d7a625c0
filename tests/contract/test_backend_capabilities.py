"""What a backend declares it honours; what it does not, it refuses by name. It never ignores anything."""

import json
import math
import re
import time

import pytest
from cases import LASTING_S, BackendCase, look, seen, until

from pman_core.backend import Absent, Backend, Capabilities, Unknown
from pman_core.command import INCOMING, OUTGOING
from pman_core.errors import Rejected, WrongHost
from pman_core.job import JobSpec, mint_generation
from pman_core.states import Reason, State


def test_capabilities_survive_publication(backend: Backend) -> None:
    published = json.loads(json.dumps(backend.capabilities.to_dict()))
    assert Capabilities.from_dict(published | {"of_a_newer_release": 1}) == backend.capabilities


@pytest.mark.parametrize(
    "wish", [{}, {"number_of_workers": 2}, {"number_of_workers": 2**31 - 1}, {"gpu_limit": 1}], ids=str
)
def test_what_capabilities_rule_out_is_refused_by_submit(
    case: BackendCase, backend: Backend, wish: dict[str, int]
) -> None:
    spec = case.spec(case.run_for(LASTING_S), **wish)
    faults = backend.capabilities.refusals(spec.request)
    if not faults:
        backend.submit(spec)
        return
    with pytest.raises(Rejected) as refused:
        backend.submit(spec)
    assert refused.value.reason is Reason.REJECTED
    assert all(fault.field in str(refused.value) for fault in faults)
    assert look(backend, spec) == Absent()
    assert list(backend.owned()) == []


def test_the_suite_has_a_job_that_is_not_refused(case: BackendCase, backend: Backend) -> None:
    assert backend.capabilities.refusals(case.spec(case.exit_with(0)).request) == []


def test_a_memory_limit_is_a_limit(case: BackendCase, backend: Backend) -> None:
    modest, greedy = case.allocate(16), case.allocate(256)
    if modest is None or greedy is None:
        pytest.skip("this case cannot measure memory")
    fits, bursts = case.spec(modest, memory_limit=128), case.spec(greedy, memory_limit=128)
    for spec in (fits, bursts):
        backend.submit(spec)
    seen(backend, fits, State.SUCCEEDED)
    ended = seen(backend, bursts, State.FAILED)
    assert ended.message
    if backend.capabilities.reports_oom:
        assert ended.reason is Reason.OOM_KILLED


def test_limits_can_be_ignored_on_request(case: BackendCase) -> None:
    greedy = case.allocate(256)
    if greedy is None:
        pytest.skip("this case cannot measure memory")
    backend = case.make(ignore_limits=True)
    spec = case.spec(greedy, memory_limit=128)
    backend.submit(spec)
    seen(backend, spec, State.SUCCEEDED)


def test_a_cpu_limit_is_a_limit(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.dump(), cpu_limit=500)
    backend.submit(spec)
    seen(backend, spec, State.SUCCEEDED)
    cpus = case.read_dump(spec).cpus
    if cpus is None:
        pytest.skip("this case cannot measure CPUs")
    assert math.isclose(cpus, 0.5 if backend.capabilities.cpu_unit == "millicore" else 1)


def test_a_user_is_set_or_refused(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.dump())
    if not backend.capabilities.sets_user:
        with pytest.raises(Rejected):
            case.make(container_user="12345:23456").submit(spec)
        return
    as_user = case.make(container_user="12345:23456")
    as_user.submit(spec)
    seen(as_user, spec, State.SUCCEEDED)
    dump = case.read_dump(spec)
    assert (dump.uid, dump.gid) == (12345, 23456)


@pytest.mark.long_wait  # real schedulers look at limits from time to time
def test_a_time_limit_ends_the_job(case: BackendCase) -> None:
    backend = case.make(timelimit_s=0.3)
    spec = case.spec(case.run_for(LASTING_S))
    backend.submit(spec)
    if not backend.capabilities.ends_overdue:
        end_as_the_observer_does(case, backend, spec)
    ended = seen(backend, spec, State.FAILED, timeout_s=case.patience_s)
    assert ended.reason is Reason.TIME_LIMIT
    assert "time limit" in ended.message
    # Some schedulers count in whole seconds or minutes.
    assert 0.3 <= named_limit_s(ended.message) <= 60
    until(lambda: not case.alive(spec), case.patience_s, "no process left")
    assert seen(case.make(), spec) == ended


def named_limit_s(message: str) -> float:
    """Return how long a time limit was, as the message tells people."""
    named = re.search(r"time limit of ([\d.]+) (min|s)$", message)
    assert named, f"it does not say how long the limit was: {message}"
    return float(named[1]) * {"min": 60, "s": 1}[named[2]]


def test_a_job_ended_at_its_own_time_limit_names_that_one(case: BackendCase) -> None:
    backend = case.make(timelimit_minutes=2, timelimit_max_minutes=60)
    if backend.capabilities.ends_overdue:
        pytest.skip("the scheduler does it, after minutes")
    spec = case.spec(case.run_for(LASTING_S), time_limit=7)
    backend.submit(spec)
    seen(backend, spec, State.RUNNING, timeout_s=case.patience_s)
    backend.end_overdue(spec.jid, spec.generation)
    restarted = case.make()
    assert seen(restarted, spec, State.FAILED, timeout_s=case.patience_s).message == "ended at its time limit of 7 min"


def end_as_the_observer_does(case: BackendCase, backend: Backend, spec: JobSpec) -> None:
    running = seen(backend, spec, State.RUNNING, timeout_s=case.patience_s)
    assert running.started_at is not None
    until_s = running.started_at.timestamp() + 0.3
    until(lambda: time.time() > until_s, case.patience_s, "the time limit")
    backend.end_overdue(spec.jid, spec.generation)


def test_only_who_needs_it_is_told_to_end_overdue_jobs(case: BackendCase, backend: Backend) -> None:
    if backend.capabilities.ends_overdue:
        with pytest.raises(TypeError):
            backend.end_overdue("nobody", mint_generation())
    else:
        backend.end_overdue("nobody", mint_generation())


def test_a_job_that_has_ended_is_not_overdue(case: BackendCase, backend: Backend) -> None:
    if backend.capabilities.ends_overdue:
        pytest.skip("the scheduler ends overdue jobs itself")
    spec = case.spec(case.exit_with(3))
    backend.submit(spec)
    ended = seen(backend, spec)
    backend.end_overdue(spec.jid, spec.generation)
    assert seen(case.make(), spec) == ended


def test_paths_of_the_share_are_rewritten_only_if_declared(case: BackendCase, backend: Backend) -> None:
    given = (INCOMING, f"{INCOMING}/a b", f"{OUTGOING}/", f"{INCOMING}s", f"/data{OUTGOING}")
    spec = case.spec(case.dump(), args=given, env=(f"WHERE={INCOMING}/x",), type="ds")
    backend.submit(spec)
    seen(backend, spec, State.SUCCEEDED)
    dump = case.read_dump(spec)
    incoming, outgoing = (
        (str(case.input(spec)), str(case.output(spec))) if backend.capabilities.rewrites_paths else (INCOMING, OUTGOING)
    )
    assert dump.args == (incoming, f"{incoming}/a b", f"{outgoing}/", f"{INCOMING}s", f"/data{OUTGOING}", incoming)
    assert dump.env["WHERE"] == f"{incoming}/x"


def test_a_job_on_another_host_is_reached_only_if_declared(case: BackendCase) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    here, elsewhere = case.make(pman_hostname="here"), case.make(pman_hostname="elsewhere")
    handle = here.submit(spec)
    if here.capabilities.scope == "cluster":
        assert handle.host == ""
        assert seen(elsewhere, spec, State.RUNNING)
        return
    assert handle.host == "here"
    assert isinstance(look(elsewhere, spec, handle), Unknown)


@pytest.mark.parametrize("how", ["remove", "end"])
def test_a_job_on_another_host_is_not_said_to_be_removed(case: BackendCase, how: str) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    here, elsewhere = case.make(pman_hostname="here"), case.make(pman_hostname="elsewhere")
    if here.capabilities.scope == "cluster":
        pytest.skip("any worker of this backend reaches every job")
    here.submit(spec)
    seen(here, spec, State.RUNNING)
    with pytest.raises(WrongHost) as wrong:
        getattr(elsewhere, how)(spec.jid, spec.generation)
    assert wrong.value.host == "here"
    assert case.alive(spec)
