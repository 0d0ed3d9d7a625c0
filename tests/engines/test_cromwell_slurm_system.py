"""All of pman on Cromwell on a real Slurm, with Apptainer and an image archive; the Cromwell is the fake one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.system import System, wait_for
from tests.contract.corpus import ARGUMENTS
from tests.engines.jobs import PATIENCE_S, UNTIL_TOLD, body, delete, get, go, post, traced, wait_end, wait_status
from tests.engines.slurm import need_slurm, put_archive, shared_folder, slurm
from tests.engines.slurm_cromwell import site_in
from tests.engines.slurm_cromwell import wait_status as wait_workflow
from tests.fakes.cromwell import FakeCromwell

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(600), pytest.mark.xdist_group("cromwell")]

STUBBORN = 'echo begun; trap "" TERM; sleep 600 & wait'
DUMP = 'for outgoing; do :; done; cat /proc/$$/cmdline > "$outgoing/argv"; cat /proc/$$/environ > "$outgoing/env"'


@contextmanager
def cromwell_system(folder: Path, name: str, cromwell: FakeCromwell) -> Iterator[System]:
    images = put_archive(folder)
    env = {"CROMWELL_URL": cromwell.url, "HPC_IMAGES": str(images), "HPC_IMAGE_CACHE": str(folder / "cache")}
    system = System(folder / f"pman-{name}", backend="cromwell", env={"PMAN_INSTANCE": name} | env)
    try:
        system.start_all()
        system.wait_ready()
        yield system
    finally:
        for process in system.processes:
            print(f"--- {process}\n{system.output(process)[-3000:]}")  # noqa: T201 (pytest shows it if the test fails)
        system.close()


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    with shared_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def cromwell(folder: Path) -> Iterator[FakeCromwell]:
    """One that soon believes that a job which is gone has left no exit code."""
    with FakeCromwell(folder / "cromwell", site_in(folder, exit_code_timeout_s=3)) as cromwell:
        yield cromwell


@pytest.fixture(scope="module")
def system(folder: Path, cromwell: FakeCromwell) -> Iterator[System]:
    with cromwell_system(folder, "shared", cromwell) as system:
        yield system


def name_of(cromwell: FakeCromwell, jid: str) -> str:
    """Return the option for ``squeue`` that names the Slurm job of one of pman's."""
    (workflow,) = [one for one in cromwell.workflows if f'"{jid}"' in one.labels]
    return f"--name=cromwell_{workflow.id[:8]}_job"


def test_an_apptainer_job_full_of_quotes_runs_true_over_http(system: System) -> None:
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


def test_a_job_that_somebody_cancels_is_told_as_cancelled(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("cancelled", STUBBORN))
    wait_status(system, "cancelled", "started")
    slurm("scancel", slurm("squeue", "--noheader", name_of(cromwell, "cancelled"), "--format=%i").strip())
    record = wait_end(system, "cancelled")
    assert (record["status"], record["reason"]) == ("finishedWithError", "CANCELLED"), record
    # Its launcher is killed with it, or a moment later, and tells the code.
    assert record["exit_code"] in {None, 137}, record


def test_a_job_out_of_memory_is_told_so(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("warm", "true"))  # so that the image is there: fetching it would count, too
    assert wait_end(system, "warm")["status"] == "finishedSuccessfully"
    post(system, body("greedy", "dd if=/dev/zero of=/dev/null bs=400M count=1", memory_limit="100"))
    record = wait_end(system, "greedy")
    assert (record["status"], record["reason"]) == ("finishedWithError", "OOM_KILLED"), record


def test_delete_ends_a_job_on_its_node(system: System, cromwell: FakeCromwell) -> None:
    post(system, body("deleted", STUBBORN))
    wait_status(system, "deleted", "started")
    name = name_of(cromwell, "deleted")
    delete(system, "deleted")
    wait_for("nothing is left", lambda: not slurm("squeue", "--noheader", name), PATIENCE_S)
    states = slurm("squeue", "--noheader", "--states=all", name, "--format=%T").split()
    # Where the abort takes longer than the launcher's grace, that has ended it; Cromwell's script goes on then.
    assert states in (["CANCELLED"], ["COMPLETED"]), states


def test_a_job_that_cromwell_has_given_up_ends_true(folder: Path) -> None:
    gives_up = site_in(folder / "gives-up", exit_code_timeout_s=2, check_alive="exit 1")
    with (
        FakeCromwell(folder / "gives-up", gives_up) as cromwell,
        cromwell_system(folder, "gives-up", cromwell) as system,
    ):
        post(system, traced("given-up", UNTIL_TOLD, 3))
        wait_status(system, "given-up", "started")
        wait_workflow(cromwell, cromwell.workflows[0].id, "Failed")
        wait_for("pman is told", lambda: "lost sight" in get(system, "given-up")["message"], PATIENCE_S)
        assert get(system, "given-up")["status"] == "started"
        go(system, "given-up")
        record = wait_end(system, "given-up")
        assert (record["status"], record["exit_code"]) == ("finishedWithError", 3), record
