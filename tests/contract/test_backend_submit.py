"""``submit`` is idempotent by generation: however often, from however many workers, the argv runs at most once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from cases import LASTING_S, BackendCase, look, ref_of, seen, until

from pman_core.backend import Absent, Backend, Handle, Observed
from pman_core.errors import Conflict
from pman_core.job import mint_generation
from pman_core.states import State


def test_a_submitted_job_is_seen_at_once(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    backend.submit(spec)
    assert isinstance(look(backend, spec), Observed)


def test_submit_twice_is_one_execution_and_one_handle(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.count_run())
    first = backend.submit(spec)
    assert backend.submit(spec) == first
    seen(backend, spec, State.SUCCEEDED)
    assert backend.submit(spec) == first, "submitted again after its end"
    seen(backend, spec, State.SUCCEEDED)
    assert case.runs(spec) == 1


def test_submit_from_many_workers_at_once_is_one_execution(case: BackendCase) -> None:
    spec = case.spec(case.count_run())
    workers = [case.make() for _ in range(6)]
    start = Barrier(len(workers))

    def submit(worker: Backend) -> Handle:
        start.wait()
        return worker.submit(spec)

    with ThreadPoolExecutor(len(workers)) as pool:
        handles = list(pool.map(submit, workers))
    seen(workers[0], spec, State.SUCCEEDED)
    assert len({handle.to_json() for handle in handles}) == 1
    assert case.runs(spec) == 1


def test_one_backend_serves_many_threads(case: BackendCase, backend: Backend) -> None:
    specs = [case.spec(case.count_run()) for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(backend.submit, specs))
    for spec in specs:
        seen(backend, spec, State.SUCCEEDED)
    assert [case.runs(spec) for spec in specs] == [1] * 12


@pytest.mark.parametrize("knows_handle", [True, False])
def test_a_job_outlives_its_worker_and_is_found_again(case: BackendCase, knows_handle: bool) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    handle = case.make().submit(spec)
    survivor = case.make()
    key = (spec.jid, spec.generation)
    found = survivor.observe([ref_of(spec, handle if knows_handle else None)])[key]
    assert isinstance(found, Observed)
    assert (found.jid, found.generation, found.digest) == (*key, spec.request.digest)
    assert found.handle == handle
    until(lambda: seen(survivor, spec, State.RUNNING), case.patience_s, "running under the survivor")


def test_a_worker_that_crashed_after_submit_adopts_its_job(case: BackendCase) -> None:
    spec = case.spec(case.count_run())
    lost = case.make().submit(spec)
    survivor = case.make()
    assert survivor.submit(spec) == lost
    seen(survivor, spec, State.SUCCEEDED)
    assert case.runs(spec) == 1


def test_what_was_made_and_not_started_is_brought_on_by_submit_alone(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.count_run())
    if not case.half_submit(spec):
        pytest.skip("the scheduler takes a job whole or not at all")
    found = look(backend, spec)
    assert isinstance(found, Observed)
    assert found.state is State.QUEUED
    assert [(item.observed, item.spec) for item in backend.owned()] == [(found, spec)]
    assert case.runs(spec) == 0
    assert backend.submit(spec) == found.handle
    seen(backend, spec, State.SUCCEEDED, timeout_s=case.patience_s)
    assert case.runs(spec) == 1


@pytest.mark.parametrize("how", ["end", "remove"])
def test_what_was_made_and_not_started_can_be_ended(case: BackendCase, backend: Backend, how: str) -> None:
    spec = case.spec(case.count_run())
    if not case.half_submit(spec):
        pytest.skip("the scheduler takes a job whole or not at all")
    getattr(backend, how)(spec.jid, spec.generation)
    found = look(backend, spec)
    assert isinstance(found, Absent) or (isinstance(found, Observed) and found.state is State.CANCELLED)
    assert case.runs(spec) == 0


def test_another_job_under_the_same_generation_is_a_conflict(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S), jid="same")
    backend.submit(spec)
    other = case.spec(case.run_for(LASTING_S), args=("another",), jid="same", generation=spec.generation)
    with pytest.raises(Conflict):
        backend.submit(other)
    found = look(backend, spec)
    assert isinstance(found, Observed)
    assert found.digest == spec.request.digest


def test_two_generations_of_a_jid_are_two_jobs(case: BackendCase, backend: Backend) -> None:
    old, new = case.spec(case.exit_with(3), jid="again"), case.spec(case.run_for(LASTING_S), jid="again")
    backend.submit(old)
    backend.submit(new)
    assert seen(backend, old, State.FAILED).exit_code == 3
    assert seen(backend, new, State.RUNNING).generation == new.generation
    assert look(backend, case.spec(case.count_run(), jid="again", generation=mint_generation())) == Absent()


def test_jids_that_only_differ_in_what_names_forbid_are_two_jobs(case: BackendCase, backend: Backend) -> None:
    specs = [case.spec(case.exit_with(code), jid=jid) for code, jid in enumerate(["A.b", "a-b", "a_b", "a~b"], start=1)]
    for spec in specs:
        backend.submit(spec)
    assert [seen(backend, spec, State.FAILED).exit_code for spec in specs] == [1, 2, 3, 4]


def test_the_longest_jid_is_accepted(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(0), jid="~" + "x" * 252, input_dir="in", output_dir="out")
    backend.submit(spec)
    assert seen(backend, spec, State.SUCCEEDED).jid == spec.jid


def test_a_handle_survives_storage(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(0))
    handle = backend.submit(spec)
    assert Handle.from_json(handle.to_json()) == handle
    assert handle.version >= 1
    seen(backend, spec, State.SUCCEEDED)
    assert isinstance(look(backend, spec, Handle.from_json(handle.to_json())), Observed)
