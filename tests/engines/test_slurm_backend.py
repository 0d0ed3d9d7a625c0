"""What only Slurm has: nodes for workers, GPUs by gres, reasons to wait, refusals, a second order for one job."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.slurm import SlurmBackend
from pman_core.backend import JobRef
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.slurm import slurm
from tests.engines.slurm_site import Site, ended, look, native_id, open_site

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture
def site(slurm_images: Path) -> Iterator[Site]:
    cache = slurm_images.with_name("cache")
    with open_site(hpc_images=slurm_images, hpc_image_cache=cache, slurm_gpu_gres="gpu") as site:
        yield site


def log_of(backend: SlurmBackend, spec: JobSpec) -> str:
    return backend.logs(JobRef(spec.jid, spec.generation), 1000, 60_000)


def test_each_worker_has_a_node_of_its_own(site: Site) -> None:
    backend = site.backend()
    spec = site.spec('echo ran >> "$1/runs"; echo hello', "workers", number_of_workers=2, memory_limit=100)
    backend.submit(spec)
    assert ended(backend, spec).state is State.SUCCEEDED
    assert (site.store / "workers/out/runs").read_text() == "ran\n" * 2
    assert sorted(log_of(backend, spec).splitlines()) == ["0: hello", "1: hello"]


def test_a_job_gets_the_gpus_that_it_asks_for(site: Site) -> None:
    if "gpu" not in slurm("sinfo", "-h", "-o", "%G"):
        pytest.skip("this cluster has no GPUs")
    backend = site.backend()
    spec = site.spec('echo "gpus=$CUDA_VISIBLE_DEVICES"', "gpu", gpu_limit=1)
    backend.submit(spec)
    assert ended(backend, spec).state is State.SUCCEEDED
    assert log_of(backend, spec) == "gpus=0\n"


@pytest.mark.parametrize(
    ("own", "fields", "told"),
    [
        ({"slurm_partition": "nope"}, {}, "Invalid partition name specified"),
        ({"slurm_constraint": "nofeat"}, {}, "Invalid feature specification"),
        ({}, {"memory_limit": 2**30}, "Memory specification can not be satisfied"),
        ({}, {"gpu_limit": 99}, "Requested node configuration is not available"),
        ({"slurm_options": "--reservation=nope"}, {}, "Requested reservation is invalid"),
    ],
)
def test_what_slurm_refuses_is_told_in_its_words(
    site: Site, own: dict[str, Any], fields: dict[str, Any], told: str
) -> None:
    backend = site.backend(**own)
    spec = site.spec("true", "refused", **fields)
    with pytest.raises(Rejected, match=told) as refused:
        backend.submit(spec)
    assert refused.value.reason is Reason.REJECTED
    assert list(backend.owned()) == []


@pytest.mark.exclusive  # it wants every node
def test_a_job_that_waits_says_why(site: Site) -> None:
    nodes = len(slurm("sinfo", "-h", "-N", "-o", "%N").split())
    backend = site.backend(slurm_options="--exclusive", slurm_workers_max=nodes)
    blocker = site.spec("sleep 600", "blocker", number_of_workers=nodes, memory_limit=100)
    waiter = site.spec("true", "waiter", number_of_workers=nodes, memory_limit=100)
    backend.submit(blocker)
    wait_for("one job has all nodes", lambda: look(backend, blocker).state is State.RUNNING, PATIENCE_S)
    backend.submit(waiter)
    why = "waiting in Slurm: Resources (no node is free for it yet)"
    wait_for("the other says why it waits", lambda: look(backend, waiter).message == why, PATIENCE_S)
    slurm("scancel", str(native_id(backend, waiter)))
    found = ended(backend, waiter)
    assert (found.state, found.message) == (State.CANCELLED, "cancelled in Slurm before it began")
    assert (found.started_at, found.exit_code) == (None, None), f"{found}"


def test_of_two_orders_for_one_job_one_runs_and_both_are_ended(site: Site) -> None:
    backend = site.backend()
    spec = site.spec('echo ran >> "$1/runs"; sleep 600', "twice")
    backend.submit(spec)
    backend._submitter.hand_over(spec)
    assert len(backend._control.folder(spec.generation).noted()) == 2
    wait_for("it runs", (site.store / "twice/out/runs").exists, PATIENCE_S)
    wait_for("the other has ended", lambda: _states(backend, spec) == ["FAILED", "RUNNING"], PATIENCE_S)
    assert look(backend, spec).state is State.RUNNING
    backend.remove(spec.jid, spec.generation)
    # The launcher may see that the job is removed before it is cancelled, and ends it itself then.
    over = (["CANCELLED", "FAILED"], ["FAILED", "FAILED"])
    wait_for("both are over", lambda: _states(backend, spec) in over, PATIENCE_S)
    assert (site.store / "twice/out/runs").read_text() == "ran\n"


def _states(backend: SlurmBackend, spec: JobSpec) -> list[str]:
    jobs = backend._survey.take(fresh=True).by_generation.get(spec.generation, ())
    return sorted(job.state for job in jobs)


def test_of_a_job_that_is_killed_nothing_is_left(site: Site) -> None:
    backend = site.backend()
    spec = site.spec('trap "" TERM; setsid sleep 600 & echo ready; sleep 600', "stubborn")
    backend.submit(spec)
    wait_for("it runs", lambda: "ready" in log_of(backend, spec), PATIENCE_S)
    backend.remove(spec.jid, spec.generation)
    folder = str((site.store / "stubborn/out").resolve())

    def processes() -> str:
        found = subprocess.run(["grep", "-lsF", f" {folder} ", *_tables()], capture_output=True, text=True, check=False)
        return found.stdout

    wait_for("no process has its folder any more", lambda: processes() == "", PATIENCE_S)


def _tables() -> list[str]:
    return [str(path / "mountinfo") for path in Path("/proc").glob("[0-9]*")]
