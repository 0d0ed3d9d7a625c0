"""Podman on the nodes of a real Slurm: a container is no child of its job, and ends with it all the same.

They run alone: the testbed's Slurm gives a job two seconds from SIGTERM to SIGKILL, in which Podman must be told.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends._hpc.runtime import container_name
from pman_core.backend import JobRef
from pman_core.job import JobSpec
from pman_core.states import State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.slurm import native_state, need_slurm, slurm
from tests.engines.slurm_site import Site, native_id, open_site, run

pytestmark = [pytest.mark.slurm, pytest.mark.exclusive, pytest.mark.timeout(300)]

PODMAN = Path(os.environ.get("PODMAN_HOME", "/var/lib/pman-podman")) / "bin" / "podman"
STUBBORN = """trap '' TERM; echo ran >> "$1/runs"; sleep 600 & wait; sleep 600"""


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    need_slurm(request)
    if not PODMAN.exists():
        pytest.skip(f"no {PODMAN}; testbed/podman/up.sh makes it")
    with open_site(hpc_runtime="podman", hpc_path=f"{PODMAN.parent}:/usr/local/bin:/usr/bin:/bin") as made:
        yield made


def containers(spec: JobSpec) -> str:
    return slurm(str(PODMAN), "ps", "--all", "--quiet", f"--filter=name={container_name(spec)}")


def test_a_job_ends_true_and_its_container_is_gone(site: Site) -> None:
    backend = site.backend()
    spec = site.spec('echo "it is $GREETING"; exit 3', "job", memory_limit=100, env=["GREETING=a 'b' $(id)"])
    (found,) = run(backend, spec)
    assert (found.state, found.exit_code) == (State.FAILED, 3), f"{found}"
    assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == "it is a 'b' $(id)\n"
    assert containers(spec) == ""


@pytest.mark.parametrize("by", ["pman", "an administrator"])
def test_of_a_job_that_is_ended_no_container_is_left(site: Site, by: str) -> None:
    backend = site.backend()
    spec = site.spec(STUBBORN, "job", memory_limit=100)
    backend.submit(spec)
    wait_for("it runs", (site.store / "job/out/runs").exists, PATIENCE_S)
    assert containers(spec)
    job_id = native_id(backend, spec)
    if by == "pman":
        backend.remove(spec.jid, spec.generation)
    else:
        slurm("scancel", "--full", str(job_id))
    wait_for("Slurm has seen it end", lambda: native_state(job_id) == "CANCELLED", PATIENCE_S)
    wait_for("no container is left", lambda: not containers(spec), PATIENCE_S)
