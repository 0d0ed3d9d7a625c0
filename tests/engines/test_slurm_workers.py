"""Jobs of several workers on a real Slurm: however they end, they end on every node, and are told for what they are."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from backends._hpc.outcome import Verdict
from backends.slurm import SlurmBackend
from pman_core.backend import Absent, JobRef
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.processes import is_left
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.slurm import native_state, slurm
from tests.engines.slurm_site import Site, ended, lively_site, look, native_id

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

WORKERS = 2
STUBBORN = """trap '' TERM; echo ran >> "$1/runs"; sleep 600 & wait; sleep 600"""
OBEDIENT = """echo ran >> "$1/runs"; sleep 600"""
ONE_FAILS = """trap '' TERM
mkdir "$1/first" 2>/dev/null && { until [ -e "$1/go" ]; do sleep 0.1; done; echo ran >> "$1/runs"; exit 6; }
echo ran >> "$1/runs"; touch "$1/go"; sleep 600 & wait; sleep 600"""


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with lively_site(request, monkeypatch) as made:
        yield made


def submitted(site: Site, backend: SlurmBackend, script: str, **fields: Any) -> JobSpec:
    spec = site.spec(script, "workers", number_of_workers=WORKERS, memory_limit=100, **fields)
    backend.submit(spec)
    wait_for("every worker has begun", lambda: runs(site, spec) == WORKERS, PATIENCE_S)
    return spec


def runs(site: Site, spec: JobSpec) -> int:
    path = site.store / spec.jid / "out/runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def family(spec: JobSpec) -> list[psutil.Process]:
    """Return all processes of a job, on all nodes: its launchers, and whatever they have started."""
    found: dict[int, psutil.Process] = {}
    for one in psutil.process_iter(["cmdline"]):
        with suppress(psutil.NoSuchProcess):
            if any(spec.generation in argument for argument in one.info["cmdline"] or ()):
                found |= {process.pid: process for process in (one, *one.children(recursive=True))}
    return list(found.values())


def wait_family(spec: JobSpec) -> list[psutil.Process]:
    """Return all processes of a job, once those of every worker are there."""

    def all_are_there() -> list[psutil.Process] | None:
        found = family(spec)
        with suppress(psutil.NoSuchProcess):
            if sum("600" in one.cmdline() for one in found) == WORKERS:
                return found
        return None

    return wait_for("the processes of every worker", all_are_there, PATIENCE_S)


def wait_gone(began: list[psutil.Process], spec: JobSpec) -> None:
    wait_for("nothing is left on any node", lambda: not any(map(is_left, [*began, *family(spec)])), PATIENCE_S)


def test_workers_that_are_removed_are_gone_from_every_node(site: Site) -> None:
    backend = site.backend()
    spec = submitted(site, backend, STUBBORN)
    began, job_id = wait_family(spec), native_id(backend, spec)
    ref = JobRef(spec.jid, spec.generation)
    backend.remove(spec.jid, spec.generation)
    wait_for("it is gone", lambda: isinstance(backend.observe([ref])[ref.jid, ref.generation], Absent), PATIENCE_S)
    wait_gone(began, spec)
    # Where scancel takes longer than the launchers' grace, they have ended it themselves before.
    wait_for("Slurm has done with it", lambda: native_state(job_id) in {"CANCELLED", "FAILED"}, PATIENCE_S)


def test_workers_that_slurm_is_not_told_to_end_are_ended_by_their_launcher(site: Site) -> None:
    backend = site.backend()
    spec = submitted(site, backend, STUBBORN)
    began = wait_family(spec)
    backend._control.put_verdict(spec.generation, Verdict(State.FAILED, Reason.NODE_FAIL, "its node has failed"))
    wait_for("Slurm has seen it end", lambda: native_state(native_id(backend, spec)) == "FAILED", PATIENCE_S)
    wait_gone(began, spec)
    assert look(backend, spec).reason is Reason.NODE_FAIL


def test_workers_that_an_administrator_cancels_are_cancelled_on_every_node(site: Site) -> None:
    backend = site.backend()
    spec = submitted(site, backend, STUBBORN)
    began = wait_family(spec)
    slurm("scancel", str(native_id(backend, spec)))
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED)
    wait_gone(began, spec)


@pytest.mark.parametrize("script", [STUBBORN, OBEDIENT], ids=["stubborn", "obedient"])
def test_workers_that_an_administrator_requeues_are_not_run_again(site: Site, script: str) -> None:
    backend = site.backend()
    spec = submitted(site, backend, script)
    began, job_id = wait_family(spec), native_id(backend, spec)
    slurm("scontrol", "update", f"JobId={job_id}", "Requeue=1")
    slurm("scontrol", "requeue", str(job_id))
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.REQUEUED), f"{found}"
    wait_gone(began, spec)
    # Slurm lets it wait for two minutes; its second run is to come and to do nothing, unless that has come to pass.
    wait_for("it is in the queue, or was", lambda: native_state(job_id) in {"PENDING", "FAILED"}, PATIENCE_S)
    slurm("scontrol", "update", f"JobId={job_id}", "StartTime=now", check=False)
    wait_for("its second run is over", lambda: native_state(job_id) == "FAILED", PATIENCE_S)
    assert runs(site, spec) == WORKERS
    assert look(site.backend(), spec) == found
    assert family(spec) == []


def test_a_worker_that_fails_ends_the_others_and_its_code_is_told(site: Site) -> None:
    backend = site.backend()
    spec = submitted(site, backend, ONE_FAILS)
    began = family(spec)
    found = ended(backend, spec)
    assert (found.state, found.exit_code) == (State.FAILED, 6)
    wait_gone(began, spec)


def test_workers_whose_command_is_not_there_have_not_started(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("", "workers", number_of_workers=WORKERS, memory_limit=100, entrypoint=["/no/such/command"])
    backend.submit(spec)
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.START_FAILED)
    assert "/no/such/command" in found.message
