"""What the launcher does on the nodes of a real Slurm: it says when a job begins, and ends what is over by itself."""

import fcntl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier
from typing import Any

import psutil
import pytest

from backends._hpc.files import cache_name
from backends._hpc.outcome import Verdict
from backends.slurm import SlurmBackend
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.processes import children_named, is_left, naming
from testbed.system import wait_for
from tests.engines import registry
from tests.engines.jobs import PATIENCE_S, UNTIL_TOLD
from tests.engines.slurm import native_state, shared_folder, slurm
from tests.engines.slurm_site import Site, ended, lively_site, look, native_id
from tests.engines.slurm_system import Calls, count

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

MANY = 40


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with lively_site(request, monkeypatch) as made:
        yield made


@contextmanager
def counted() -> Iterator[Calls]:
    with shared_folder() as folder:
        yield Calls(folder / "bin")


def submitted(site: Site, backend: SlurmBackend, script: str, jid: str = "job", **fields: Any) -> JobSpec:
    spec = site.spec(script, jid, **fields)
    backend.submit(spec)
    return spec


def wait_running(backend: SlurmBackend, spec: JobSpec) -> None:
    wait_for(f"{spec.jid} runs", lambda: look(backend, spec).state is State.RUNNING, PATIENCE_S)


def test_a_job_whose_image_is_fetched_waits_and_says_so(site: Site) -> None:
    if lack := registry.lack():
        pytest.skip(lack)
    image, cache = registry.new_image(), site.store / "cache"
    backend = site.backend(hpc_image_cache=cache)
    cache.mkdir(exist_ok=True)
    with (cache / f"{cache_name(image)}.sif.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else fetches it, and it takes him long
        spec = submitted(site, backend, UNTIL_TOLD, image=image)
        wait_for("Slurm runs it", lambda: native_state(native_id(backend, spec)) == "RUNNING", PATIENCE_S)
        wait_for(
            "its image is waited for",
            lambda: look(backend, spec).message.startswith(f"fetching image {image}"),
            PATIENCE_S,
        )
        assert look(backend, spec).state is State.PENDING
        assert look(backend, spec).native_state == "RUNNING"
    wait_running(backend, spec)
    (site.store / spec.request.output_dir / "go").touch()
    assert ended(backend, spec).state is State.SUCCEEDED


def test_a_job_that_is_cancelled_while_its_image_is_fetched_has_not_begun(site: Site) -> None:
    image, cache = "127.0.0.1:1/nobody/has:it", site.store / "cache"
    backend = site.backend(hpc_image_cache=cache)
    cache.mkdir()
    with (cache / f"{cache_name(image)}.sif.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        spec = submitted(site, backend, "true", image=image)
        wait_for("its image is waited for", lambda: "fetching" in look(backend, spec).message, PATIENCE_S)
        slurm("scancel", str(native_id(backend, spec)))
        found = ended(backend, spec)
    assert (found.state, found.message) == (State.CANCELLED, "cancelled in Slurm before it began"), f"{found}"
    assert (found.started_at, found.exit_code) == (None, None), f"{found}"


def test_what_is_over_is_ended_on_its_node_though_slurm_is_not_told(site: Site) -> None:
    with counted() as calls:
        backend = site.backend(slurm_path=calls.path)
        spec = submitted(site, backend, "trap '' TERM; sleep 600 & wait; sleep 600")
        wait_running(backend, spec)
        began = wait_for("its processes", lambda: _sleepers(site), PATIENCE_S)
        backend._control.put_verdict(spec.generation, Verdict(State.FAILED, Reason.NODE_FAIL, "its node has failed"))
        wait_for("Slurm has seen it end", lambda: native_state(native_id(backend, spec)) == "FAILED", PATIENCE_S)
        wait_for("nothing is left on its node", lambda: not any(map(is_left, began)), PATIENCE_S)
        assert look(backend, spec).reason is Reason.NODE_FAIL
        assert count(calls.since(0))["scancel"] == 0


def test_all_that_slurmctld_knows_has_reached_accounting(site: Site) -> None:
    backend = site.backend()
    wait_for("nothing waits for slurmdbd", lambda: backend._transport.unaccounted() == 0, PATIENCE_S)


@pytest.mark.exclusive  # they take every core, and leave none to the jobs of other tests
def test_jobs_that_are_ended_at_once_are_few_questions(site: Site) -> None:
    with counted() as calls:
        backend = site.backend(slurm_path=calls.path)
        specs = [submitted(site, backend, "sleep 600", f"job-{number}") for number in range(MANY)]
        began_s, together = time.time(), Barrier(MANY)

        def end(spec: JobSpec) -> None:
            together.wait(PATIENCE_S)  # a few at a time share as much as their scancels let them: the machine decides
            backend.end(spec.jid, spec.generation)

        with ThreadPoolExecutor(MANY) as pool:
            list(pool.map(end, specs))
        asked = count(calls.since(began_s))
        assert asked["scancel"] == MANY
        assert asked["squeue"] <= MANY / 2, asked
        for spec in specs:
            assert ended(backend, spec).reason is Reason.CANCELLED


def _sleepers(site: Site) -> list[psutil.Process]:
    """Return what the launchers of the site have started of the jobs themselves."""
    found = []
    for one in naming(site.store):
        with suppress(psutil.NoSuchProcess):
            found += children_named(one.pid, "sleep", "busybox", recursive=True)
    return found
