"""The commands of Cromwell's configuration for Slurm, run as Cromwell runs them, by workflows of one call."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import WDL

from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S, REPLY_S
from tests.engines.slurm import need_slurm, shared_folder, slurm
from tests.engines.slurm_cromwell import call, site_in, submit, wait_state, wait_status
from tests.fakes.cromwell import FakeCromwell, Site

NOWHERE = "SlurmctldPort=1\nMessageTimeout=3\n"
"""Nobody listens there, and the commands of Slurm try again for as long as a message may take, else for ten seconds."""

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    with shared_folder() as folder:
        yield folder


@pytest.fixture
def site(folder: Path) -> Site:
    return site_in(folder)


@pytest.fixture
def cromwell(folder: Path, site: Site) -> Iterator[FakeCromwell]:
    with FakeCromwell(folder / "cromwell", site) as cromwell:
        yield cromwell


def test_a_workflow_runs_and_ends_true(cromwell: FakeCromwell) -> None:
    good = submit(cromwell, "/bin/echo", "hello", "a b", runtime='cpu: 2 memory: "300 MB" runtime_minutes: 3')
    bad = submit(cromwell, "/bin/bash", "-c", "echo to-err >&2; exit 7")
    done = wait_status(cromwell, good, "Succeeded")
    assert done["outputs"]["step.text"] == "hello a b"
    job = slurm("scontrol", "--oneliner", "show", "job", call(cromwell, good)["jobId"])
    wanted = {
        f"JobName=cromwell_{good[:8]}_run",
        "CPUs/Task=2",
        "MinMemoryNode=300M",
        "TimeLimit=00:03:00",
        "Requeue=0",
    }
    assert wanted <= set(job.split())
    assert wait_status(cromwell, bad, "Failed")["calls"]["step.run"][0]["returnCode"] == 7
    stderr = Path(call(cromwell, bad)["stderr"])
    assert stderr.read_text() == "to-err\n"
    # Slurm itself sees no failure: the last command of Cromwell's script is an mv.
    assert wait_state(call(cromwell, bad)["jobId"], "COMPLETED")


def test_the_job_has_nothing_of_cromwells_environment(cromwell: FakeCromwell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "cromwell-service")
    done = wait_status(cromwell, submit(cromwell, "/usr/bin/env"), "Succeeded")
    assert "cromwell-service" not in done["outputs"]["step.text"]


def test_an_abort_reaches_slurm(cromwell: FakeCromwell) -> None:
    sleeper = submit(cromwell, "/bin/sleep", "600")
    job_id = wait_for("a job id", lambda: call(cromwell, sleeper).get("jobId"), PATIENCE_S)
    wait_state(job_id, "RUNNING")
    assert (
        requests.post(f"{cromwell.url}/api/workflows/v1/{sleeper}/abort", timeout=REPLY_S).json()["status"]
        == "Aborting"
    )
    wait_state(job_id, "CANCELLED")
    wait_status(cromwell, sleeper, "Aborted")


def test_a_job_that_somebody_cancels_ends_with_an_invented_code(folder: Path, site: Site) -> None:
    with FakeCromwell(folder / "cromwell", site.but(exit_code_timeout_s=2)) as cromwell:
        sleeper = submit(cromwell, "/bin/sleep", "600")
        job_id = wait_for("a job id", lambda: call(cromwell, sleeper).get("jobId"), PATIENCE_S)
        wait_state(job_id, "RUNNING")
        subprocess.run(["scancel", job_id], check=True)
        assert wait_status(cromwell, sleeper, "Failed")["calls"]["step.run"][0]["returnCode"] == 79


def test_a_rejected_sbatch_fails_the_workflow(cromwell: FakeCromwell) -> None:
    rejected = wait_status(cromwell, submit(cromwell, "/bin/true", runtime='queue: "nope"'), "Failed")
    entry = rejected["calls"]["step.run"][0]
    assert "jobId" not in entry
    message = entry["failures"][0]["message"]
    assert "invalid partition" in Path(message.rpartition(": ")[2]).read_text()


def test_a_restarted_cromwell_finds_its_job_again(folder: Path, site: Site) -> None:
    with FakeCromwell(folder / "cromwell", site) as cromwell:
        sleeper = submit(cromwell, "/bin/sh", "-c", f"while [ ! -e {folder}/go ]; do sleep 0.1; done")
        job_id = wait_for("a job id", lambda: call(cromwell, sleeper).get("jobId"), PATIENCE_S)
        wait_state(job_id, "RUNNING")
        cromwell.stop()
        cromwell.start()
        (folder / "go").touch()
        done = wait_status(cromwell, sleeper, "Succeeded")
        assert done["calls"]["step.run"][0]["jobId"] == job_id
        assert len([event for event in done["workflowProcessingEvents"] if event["description"] == "PickedUp"]) == 2
    assert slurm(
        "squeue", "--noheader", "--states=all", f"--name=cromwell_{sleeper[:8]}_run", "--format=%i"
    ).split() == [job_id]


def test_nobody_is_dead_because_slurmctld_does_not_answer(folder: Path, site: Site) -> None:
    """Asked with a configuration that leads to a port where nobody listens; the words are Slurm's own."""
    running = subprocess.run(
        ["sbatch", "--parsable", f"--chdir={folder}", "--output=/dev/null", "--wrap", "sleep 600"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    script = folder / "check"
    script.write_text(site.script(site.check_alive, {"job_id": WDL.Value.String(running)}))
    configuration = Path(os.environ.get("SLURM_CONF", "/etc/slurm/slurm.conf")).read_text()
    nowhere = folder / "slurm.conf"
    nowhere.write_text(
        re.sub(r"(?im)^(slurmctldport|messagetimeout)=.*$", "", configuration) + "\nSlurmctldPort=1\nMessageTimeout=3\n"
    )

    def is_alive(conf: Path | None = None) -> bool:
        env = os.environ | ({} if conf is None else {"SLURM_CONF": str(conf)})
        return subprocess.run(["/bin/bash", str(script)], env=env, timeout=PATIENCE_S, check=False).returncode == 0

    try:
        assert is_alive()
        assert is_alive(nowhere)
    finally:
        subprocess.run(["scancel", running], check=True)
    wait_state(running, "CANCELLED")
    assert not is_alive()
    script.write_text(site.script(site.check_alive, {"job_id": WDL.Value.String("99999999")}))
    assert not is_alive()
    assert is_alive(nowhere)
