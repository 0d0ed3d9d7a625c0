"""Cromwell's configuration for SLURM (``deploy/cromwell/slurm.conf``) on a real Slurm; the Cromwell is the fake one.

Its commands are run as Cromwell runs them, by a workflow of one call, and then by all of pman with Apptainer.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
import WDL

from testbed.system import System, wait_for
from tests.contract.corpus import ARGUMENTS
from tests.engines.jobs import FINISHED, body, delete, get, post, traced
from tests.fakes.cromwell import FakeCromwell, Site, read_site
from tests.unit.cromwell_recordings import read

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
CONF = ROOT / "deploy/cromwell/slurm.conf"
DUMP = 'for outgoing; do :; done; cat /proc/$$/cmdline > "$outgoing/argv"; cat /proc/$$/environ > "$outgoing/env"'
SECONDS = 60


@pytest.fixture(autouse=True)
def cluster(request: pytest.FixtureRequest) -> None:
    lacking = [name for name in ("sbatch", "squeue", "scancel", "scontrol") if shutil.which(name) is None]
    if not lacking and "is UP" in slurm("scontrol", "ping"):
        return
    if "slurm" not in request.config.getoption("--require"):
        pytest.skip(f"no Slurm answers here; {lacking}")
    assert not lacking
    # Another test may have taken it down; it comes back.
    wait_for("slurmctld answers", lambda: "is UP" in slurm("scontrol", "ping"), SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the nodes see, too."""
    with TemporaryDirectory(prefix="pman-cromwell-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def site(folder: Path, request: pytest.FixtureRequest) -> Site:
    return read_site(CONF).but(root=folder / "executions", **getattr(request, "param", {}))


@pytest.fixture
def cromwell(folder: Path, site: Site) -> Iterator[FakeCromwell]:
    with FakeCromwell(folder / "cromwell", site) as cromwell:
        yield cromwell


def slurm(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout


def submit(cromwell: FakeCromwell, *argv: str, runtime: str = "") -> str:
    """Submit the recorder's workflow; return its id."""
    source: str = read("30-metadata-succeeded-full").json()["submittedFiles"]["workflow"]
    if runtime:
        source = source.replace("  output {\n    File out", f"  runtime {{ {runtime} }}\n  output {{\n    File out", 1)
    workflow_id = str(uuid.uuid4())
    files = {"workflowSource": source, "workflowInputs": json.dumps({"step.argv": argv})}
    files["requestedWorkflowId"] = workflow_id
    reply = requests.post(
        f"{cromwell.url}/api/workflows/v1", files={name: (None, text) for name, text in files.items()}, timeout=10
    )
    assert reply.status_code == 201, reply.text
    return workflow_id


def told(cromwell: FakeCromwell, workflow_id: str) -> dict[str, Any]:
    reply = requests.get(f"{cromwell.url}/api/workflows/v1/{workflow_id}/metadata", timeout=10)
    return reply.json() if reply.ok else {}  # type: ignore[no-any-return]


def call(cromwell: FakeCromwell, workflow_id: str) -> dict[str, Any]:
    calls = told(cromwell, workflow_id).get("calls", {}).get("step.run", [{}])
    return calls[0]  # type: ignore[no-any-return]


def wait_status(cromwell: FakeCromwell, workflow_id: str, status: str) -> dict[str, Any]:
    wait_for(f"it is {status}", lambda: told(cromwell, workflow_id).get("status") == status, SECONDS)
    return told(cromwell, workflow_id)


def wait_state(job_id: str, *states: str) -> str:
    return wait_for(
        f"Slurm's job {job_id} is {states}", lambda: (state := state_of(job_id)) in states and state, SECONDS
    )


def state_of(job_id: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T").strip()


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
    job_id = wait_for("a job id", lambda: call(cromwell, sleeper).get("jobId"), SECONDS)
    wait_state(job_id, "RUNNING")
    assert requests.post(f"{cromwell.url}/api/workflows/v1/{sleeper}/abort", timeout=10).json()["status"] == "Aborting"
    wait_state(job_id, "CANCELLED")
    wait_status(cromwell, sleeper, "Aborted")


def test_a_job_that_somebody_cancels_ends_with_an_invented_code(folder: Path, site: Site) -> None:
    with FakeCromwell(folder / "cromwell", site.but(exit_code_timeout_s=2)) as cromwell:
        sleeper = submit(cromwell, "/bin/sleep", "600")
        job_id = wait_for("a job id", lambda: call(cromwell, sleeper).get("jobId"), SECONDS)
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
        sleeper = submit(cromwell, "/bin/sleep", "8")
        job_id = wait_for("a job id", lambda: call(cromwell, sleeper).get("jobId"), SECONDS)
        wait_state(job_id, "RUNNING")
        cromwell.stop()
        cromwell.start()
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
    nowhere.write_text(re.sub(r"(?im)^(slurmctldport|messagetimeout)=.*$", "", configuration) + "\nSlurmctldPort=1\n")

    def is_alive(conf: Path | None = None) -> bool:
        env = os.environ | ({} if conf is None else {"SLURM_CONF": str(conf)})
        return subprocess.run(["/bin/bash", str(script)], env=env, timeout=50, check=False).returncode == 0

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


# All of pman, with an image archive


@pytest.fixture
def images(folder: Path) -> Path:
    """A site's folder of images, with one archive."""
    found = folder / "images"
    found.mkdir()
    argv = [sys.executable, str(ROOT / "testbed/make_image.py"), "--busybox", "--tag", "busybox:test"]
    subprocess.run([*argv, "--out", str(found / "busybox:test.tar")], check=True)
    return found


@pytest.fixture
def system(folder: Path, cromwell: FakeCromwell, images: Path) -> Iterator[System]:
    env = {"CROMWELL_URL": cromwell.url, "HPC_IMAGES": str(images), "HPC_IMAGE_CACHE": str(images / "cache")}
    system = System(folder / "pman", backend="cromwell", env=env)
    try:
        system.start_redis()
        system.start_api()
        system.start_worker()
        system.start_observer()
        system.wait_ready()
        yield system
    finally:
        for name in system.processes:
            print(f"--- {name}\n{system.output(name)[-3000:]}")  # noqa: T201 (pytest shows it if the test fails)
        system.close()


def wait_end(system: System, jid: str) -> dict[str, Any]:
    return wait_for(
        f"{jid} has ended", lambda: (record := get(system, jid))["status"] in FINISHED and record, 2 * SECONDS
    )


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_an_apptainer_job_full_of_quotes_runs_true_over_http(system: System) -> None:
    if shutil.which("apptainer") is None:
        pytest.skip("no apptainer here")
    env = [f"V{number}={text}" for number, text in enumerate(ARGUMENTS) if "\0" not in text]
    arguments = [text for text in ARGUMENTS if "\0" not in text]
    post(system, body("quotes", DUMP, args=arguments, env=env))
    post(system, body("fails", "echo \"it is 'so'\" >&2; exit 7"))
    record = wait_end(system, "quotes")
    assert record["status"] == "finishedSuccessfully", record
    outgoing = system.store_base / "quotes/out"
    argv = (outgoing / "argv").read_bytes().decode().split("\0")[:-1]
    assert argv[4:] == [*arguments, "/share/outgoing"]
    seen = dict(entry.split("=", 1) for entry in (outgoing / "env").read_bytes().decode().split("\0")[:-1])
    assert {f"V{number}": seen.get(f"V{number}") for number, _ in enumerate(env)} == dict(
        entry.split("=", 1) for entry in env
    )
    failed = wait_end(system, "fails")
    assert (failed["status"], failed["exit_code"]) == ("finishedWithError", 7)
    assert "it is 'so'" in failed["logs"]


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_forty_jobs_of_eight_clients_end_true(system: System) -> None:
    def client(number: int) -> None:
        jobs = {f"c{number}-{one}": one % 3 for one in range(5)}
        for jid, code in jobs.items():
            post(system, traced(jid, code=code, memory_limit="100"))
        for jid, code in jobs.items():
            record = wait_end(system, jid)
            assert (record["status"] == "finishedSuccessfully", record["exit_code"]) == (code == 0, code), record
            out = system.store_base / jid / "out"
            assert [(out / name).read_text().count("\n") for name in ("runs", "ends")] == [1, 1]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))


def slurm_job(cromwell: FakeCromwell, number: int = 0) -> str:
    """Return the id of the job of a workflow of pman's."""
    name = f"--name=cromwell_{cromwell.workflows[number].id[:8]}_job"
    return slurm("squeue", "--noheader", "--states=all", name, "--format=%i").strip()


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", [{"exit_code_timeout_s": 3}], indirect=True)
def test_a_job_that_somebody_cancels_is_told_as_cancelled(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("long", 'echo begun; trap "" TERM; sleep 600 & wait'))
    wait_for("it runs", lambda: get(system, "long")["status"] == "started", 2 * SECONDS)
    subprocess.run(["scancel", slurm_job(cromwell)], check=True)
    record = wait_end(system, "long")
    assert (record["status"], record["reason"]) == ("finishedWithError", "CANCELLED"), record
    assert record["exit_code"] is None


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", [{"exit_code_timeout_s": 3}], indirect=True)
def test_a_job_out_of_memory_is_told_so(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("warm", "true"))  # so that the image is there: fetching it would count, too
    assert wait_end(system, "warm")["status"] == "finishedSuccessfully"
    post(system, body("greedy", "dd if=/dev/zero of=/dev/null bs=400M count=1", memory_limit="100"))
    record = wait_end(system, "greedy")
    assert (record["status"], record["reason"]) == ("finishedWithError", "OOM_KILLED"), record


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_delete_ends_a_job_on_its_node(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("long", 'echo begun; trap "" TERM; sleep 600 & wait'))
    wait_for("it runs", lambda: get(system, "long")["status"] == "started", 2 * SECONDS)
    delete(system, "long")
    name = f"--name=cromwell_{cromwell.workflows[0].id[:8]}_job"
    wait_for("nothing is left", lambda: not slurm("squeue", "--noheader", name), 2 * SECONDS)
    assert "CANCELLED" in slurm("squeue", "--noheader", "--states=all", name, "--format=%T")


@pytest.mark.e2e
@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", [{"exit_code_timeout_s": 2, "check_alive": "exit 1"}], indirect=True)
def test_a_job_that_cromwell_has_given_up_ends_true(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("long", "echo begun; sleep 30; exit 3"))
    wait_for("it runs", lambda: get(system, "long")["status"] == "started", 2 * SECONDS)
    wait_status(cromwell, cromwell.workflows[0].id, "Failed")
    wait_for("pman is told", lambda: "lost sight" in get(system, "long")["message"], SECONDS)
    assert get(system, "long")["status"] == "started"
    record = wait_end(system, "long")
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 3), record
