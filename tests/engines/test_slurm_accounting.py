"""What a real Slurm says of jobs that slurmctld has forgotten: accounting tells how they ended, else their launcher."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends._slurm import judge
from backends._slurm.transport import NativeJob, NoAccounting
from backends.slurm import SlurmBackend
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed import slurm_cluster
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.slurm import native_state, slurm
from tests.engines.slurm_site import Site, ended, look, native_id, open_site

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

LIMIT_MINUTES = 7
CANCELLED = """trap 'exit 9' TERM; echo ran >> "$1/runs"; sleep 600 & wait"""
Worker = Callable[[], SlurmBackend]


@pytest.fixture
def site(slurm_images: Path) -> Iterator[Site]:
    with open_site(hpc_images=slurm_images, hpc_image_cache=slurm_images.with_name("cache")) as site:
        yield site


@pytest.fixture(params=["commands", "rest"])
def worker(request: pytest.FixtureRequest, site: Site) -> Worker:
    """Makes the backend of one more worker, by one transport or the other."""
    if request.param == "commands":
        return site.backend
    if lacking := slurm_cluster.rest_lack():
        required = "slurm" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    rest = {"slurm_rest_url": slurm_cluster.rest_url(), "slurm_rest_token_command": slurm_cluster.TOKEN_COMMAND}
    return lambda: site.backend(slurm_path="/nonexistent", **rest)


def keeps_accounts() -> bool:
    return "accounting_storage/slurmdbd" in slurm("scontrol", "show", "config")


def over(backend: SlurmBackend, spec: JobSpec) -> NativeJob:
    """Wait until Slurm has ended a job; return it as the listing has it. The backend does not learn of it."""
    job_id = native_id(backend, spec)
    wait_for("Slurm has ended it", lambda: native_state(job_id) in {"CANCELLED", "FAILED"}, PATIENCE_S)
    return next(job for job in backend._transport.jobs() if job.job_id == job_id)


def accounted(backend: SlurmBackend, spec: JobSpec) -> NativeJob:
    """Wait until accounting has heard of the end of a job, and of its name: for seconds that may be `allocation`."""

    def account() -> NativeJob | None:
        for job in backend._transport.accounted({native_id(backend, spec)}, datetime.now(UTC) - timedelta(hours=1)):
            if not judge.goes_on(job) and job.name == spec.native_name:
                return job
        return None

    return wait_for(f"accounting has heard of the end of {spec.jid}", account, PATIENCE_S)


def test_a_job_that_slurmctld_has_forgotten_ends_as_it_ended(
    site: Site, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = worker()
    failed = site.spec("exit 3", "failed", memory_limit=100)
    cancelled = site.spec(CANCELLED, "cancelled", memory_limit=100)
    for spec in (failed, cancelled):
        backend.submit(spec)
    wait_for("it runs", (site.store / "cancelled/out/runs").exists, PATIENCE_S)
    slurm("scancel", str(native_id(backend, cancelled)))
    for spec in (failed, cancelled):
        over(backend, spec)
        if keeps_accounts():
            accounted(backend, spec)
    # From now on slurmctld knows nothing any more, as it does MinJobAge later.
    monkeypatch.setattr(judge, "JUST_SUBMITTED", timedelta(0))
    monkeypatch.setattr(backend._transport, "jobs", list)
    found = ended(backend, failed)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 3)
    assert look(worker(), failed) == found, "it has been written down"
    if keeps_accounts():  # else nobody knows: its launcher was killed, perhaps before it could write
        found = ended(backend, cancelled)
        assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED)
        assert "cancelled in Slurm" in found.message


def test_accounting_tells_of_a_job_what_the_listing_told(site: Site, worker: Worker) -> None:
    backend = worker()
    spec = site.spec("exit 3", "failed", memory_limit=100, time_limit=LIMIT_MINUTES)
    backend.submit(spec)
    listed = over(backend, spec)
    if not keeps_accounts():
        with pytest.raises(NoAccounting):
            backend._transport.accounted({listed.job_id}, datetime.now(UTC) - timedelta(hours=1))
        return
    account = accounted(backend, spec)
    for name in ("state", "user", "nodes", "submitted_at", "started_at", "finished_at", "time_limit_minutes"):
        assert getattr(account, name) == getattr(listed, name), name
    assert listed.time_limit_minutes == LIMIT_MINUTES
    # slurmrestd before v0.0.40 has lost it.
    assert (account.exit_status, account.signal) in {(3, 0), (None, 0)}
