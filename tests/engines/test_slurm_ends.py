"""How jobs end by the hands of administrators and the kernel, and at their limits: each end is told for what it is."""

import subprocess
from collections.abc import Iterator

import pytest
import requests

from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, REPLY_S, UNTIL_TOLD, body, get, post, running, traced, traces, wait_end
from tests.engines.slurm import native_state, need_slurm, shared_folder, slurm
from tests.engines.slurm_faults import kill_processes
from tests.engines.slurm_system import SMALL, once, only_id, slurm_system

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(600), pytest.mark.xdist_group("slurm-ends")]


@pytest.fixture(scope="module")
def pman(request: pytest.FixtureRequest) -> Iterator[System]:
    need_slurm(request, faults=True)
    with shared_folder() as folder, slurm_system(folder, "ends") as system:
        yield system


def test_a_program_that_the_kernel_kills_for_want_of_memory_on_the_node_ends_its_job(pman: System) -> None:
    post(pman, traced("no-memory", f": the-largest; {UNTIL_TOLD}", **SMALL))
    wait_for("the program has begun", lambda: traces(pman, "no-memory"), PATIENCE_S)
    kill_processes("the-largest", "sh")
    record = wait_end(pman, "no-memory")
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 137), f"{record}"
    assert "SIGKILL" in record["message"] or "killed" in record["message"].lower(), f"{record}"
    assert once(pman, "no-memory") == (1, 0)


def test_a_job_that_an_administrator_cancels_says_so(pman: System) -> None:
    running(pman, "cancelled", **SMALL)
    slurm("scancel", str(only_id(pman, "cancelled")))
    record = wait_end(pman, "cancelled")
    assert (record["status"], record["reason"]) == ("finishedWithError", "CANCELLED"), f"{record}"
    assert "cancelled in Slurm" in record["message"]
    assert once(pman, "cancelled") == (1, 0)


def test_a_job_that_an_administrator_requeues_is_not_run_again(pman: System) -> None:
    running(pman, "requeued", **SMALL)
    job_id = only_id(pman, "requeued")
    slurm("scontrol", "update", f"JobId={job_id}", "Requeue=1")
    slurm("scontrol", "requeue", str(job_id))
    record = wait_end(pman, "requeued")
    assert (record["status"], record["reason"]) == ("finishedWithError", "REQUEUED"), f"{record}"
    # Slurm lets it wait for two minutes; its second run is to come and to do nothing, unless pman has ended it by then.
    slurm("scontrol", "update", f"JobId={job_id}", "StartTime=now", check=False)
    wait_for("Slurm has done with it", lambda: native_state(job_id) in {"FAILED", "CANCELLED", ""}, PATIENCE_S)
    assert once(pman, "requeued") == (1, 0)
    assert get(pman, "requeued")["reason"] == "REQUEUED"


def test_a_job_that_takes_more_memory_than_it_may_is_told(pman: System) -> None:
    post(pman, traced("greedy", "dd if=/dev/zero of=/dev/null bs=300M count=1 || exit 9", **SMALL))
    record = wait_end(pman, "greedy")
    assert (record["status"], record["reason"]) == ("finishedWithError", "OOM_KILLED"), f"{record}"


def test_a_job_that_cannot_write_its_output_says_what_its_program_says(pman: System) -> None:
    folder = pman.store_base / "read-only" / "out"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True)
    try:
        request = body("read-only", 'echo result > "$1/result"', **SMALL)
        reply = requests.post(f"{pman.url}/api/v1/", json=request, timeout=REPLY_S)
        assert reply.status_code == 201
        record = wait_end(pman, "read-only")
        assert record["status"] == "finishedWithError", f"{record}"
        assert "Read-only" in record["logs"] + record["message"], f"{record}"
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
