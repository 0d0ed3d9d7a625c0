"""A job on a real Slurm that its Cromwell has given up: DELETE ends it all the same, on its node."""

from functools import partial
from pathlib import Path

import pytest

import backends._cromwell.submit
from backends._cromwell import looks
from backends._cromwell.settings import CromwellSettings
from backends._hpc.files import Watch, files_of
from backends.cromwell import CromwellBackend
from pman_core.backend import Absent, JobRef, Observed
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S, body
from tests.engines.slurm import native_state, need_slurm, shared_folder, slurm
from tests.fakes.cromwell import FakeCromwell, read_site

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

CONF = Path(__file__).parents[2] / "deploy/cromwell/slurm.conf"


def test_a_job_that_cromwell_has_given_up_is_ended_on_its_node(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_slurm(request)
    monkeypatch.setattr(
        backends._cromwell.submit, "files_of", partial(files_of, watch=Watch(heartbeat_s=0.5, grace_s=1))
    )
    monkeypatch.setattr(looks, "LAST_WORD_S", 0.0)
    with shared_folder() as folder:
        given_up = folder / "given-up"
        site = read_site(CONF).but(
            root=folder / "executions", exit_code_timeout_s=1, check_alive=f"test ! -e {given_up}"
        )
        with FakeCromwell(folder / "cromwell", site) as cromwell:
            backend = CromwellBackend(
                Settings(container_env="cromwell", storebase=folder, cromwell_url=cromwell.url),  # type: ignore[arg-type]
                CromwellSettings(hpc_runtime="none", hpc_any_image=True),
            )
            backend.open()
            spec = JobSpec(mint_generation(), "pman", JobRequest(**body("job", "trap '' TERM; sleep 600; sleep 600")))
            for wanted in (spec.request.input_dir, spec.request.output_dir):
                (folder / wanted).mkdir(parents=True)
            backend.submit(spec)

            def look() -> object:
                return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]

            def runs(words: str) -> bool:
                found = look()
                return isinstance(found, Observed) and found.state is State.RUNNING and words in found.message

            wait_for("it runs", lambda: runs(""), PATIENCE_S)
            given_up.touch()
            wait_for("Cromwell has given it up", lambda: runs("lost sight"), PATIENCE_S)
            called = f"--name=cromwell_{cromwell.workflows[0].id[:8]}_job"
            job_id = int(slurm("squeue", "--noheader", "--states=all", called, "--format=%A"))
            assert native_state(job_id) == "RUNNING"
            assert backend.remove(spec.jid, spec.generation) is False
            wait_for("nothing of it is told", lambda: look() == Absent(), PATIENCE_S)
            wait_for("Slurm has seen it end", lambda: native_state(job_id) in {"COMPLETED", "FAILED"}, PATIENCE_S)
            backend.close()
