"""What a Slurm cluster can suffer while jobs run on it, and that every job's state is still true.

Daemons are killed and stopped, so nothing else may use the cluster meanwhile. All jobs are on its last node, and what
is done to a node is done to that one. SLURM_STOPPED_S: so long slurmctld is stopped.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests

from testbed.system import System, wait_for
from tests.engines.jobs import body, delete, get, post, traced, traces, wait_end, wait_status
from tests.engines.slurm import (
    Calls,
    bring_up,
    end_slurm_system,
    kill,
    native_ids,
    native_state,
    need_slurm,
    repaired,
    slurm,
    start_slurm_system,
    stopped,
    wait_nothing_left,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(300)]

FAST = {"RECONCILE_S": "2", "REQUEUE_S": "1", "SUBMIT_LEASE_S": "45", "LOST_GRACE_S": "5"}
STOPPED_S = float(os.environ.get("SLURM_STOPPED_S", "12"))
UNTIL_TOLD = 'while [ ! -e "$1/go" ]; do sleep 0.1; done'
"""Work that ends when it is told to, so that it surely goes on while the fault lasts."""


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request, faults=True)
    with TemporaryDirectory(prefix="pman-slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def calls(folder: Path) -> Calls:
    return Calls(folder / "bin")


@pytest.fixture(scope="module")
def pman(folder: Path, calls: Calls) -> Iterator[System]:
    """All of pman, on one node of the cluster."""
    with repaired():
        env = FAST | {"SLURM_PATH": f"{calls.folder}:/usr/bin:/bin", "SLURM_OPTIONS": f"--nodelist={last_node()}"}
        system = start_slurm_system(folder, f"faults-{folder.name[-6:].lower().replace('_', 'x')}", **env)
        try:
            yield system
        finally:
            end_slurm_system(system)


def last_node() -> str:
    return sorted(slurm("sinfo", "-h", "-N", "-o", "%N").split())[-1]


SMALL = {"memory_limit": "100"}


def running(system: System, *jids: str, code: int = 0, **fields: object) -> None:
    for jid in jids:
        post(system, traced(jid, UNTIL_TOLD, code, **(SMALL | fields)))
    for jid in jids:
        wait_status(system, jid, "started")
        wait_for(f"the program of {jid} has begun", lambda jid=jid: traces(system, jid))


def go(system: System, *jids: str) -> None:
    for jid in jids:
        (system.store_base / jid / "out" / "go").touch()


def health(system: System) -> tuple[bool, str]:
    """Return what the API tells of the backend."""
    backend = requests.get(f"{system.url}/api/v1/", timeout=5).json().get("backend") or {}
    return bool(backend.get("ok")), str(backend.get("message"))


def only_id(system: System, jid: str) -> int:
    (job_id,) = native_ids(system, jid)
    return job_id


def wait_until_saved(job_id: int) -> None:
    """Wait until slurmctld has written down that a job runs; it saves what has changed within five seconds.

    One that is killed before that starts such a job anew when it is back: the node refuses that, and is drained.
    """
    saved, now_s = Path(os.environ.get("SLURM_HOME", "/var/lib/pman-slurm")) / "slurmctld" / "job_state", time.time()
    slurm("scontrol", "update", f"JobId={job_id}", "AdminComment=a change")
    wait_for("slurmctld has saved its state", lambda: saved.stat().st_mtime > now_s, 60)


def kill_processes(pattern: str, name: str) -> None:
    """``kill -9`` the processes of this name with such a command line."""
    found = [
        int(pid)
        for pid in slurm("pgrep", "-f", pattern).split()
        if Path(f"/proc/{pid}/comm").read_text().startswith(name)
    ]
    assert found, pattern
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def once(system: System, jid: str) -> tuple[int, int]:
    return traces(system, jid), traces(system, jid, "ends")


# -- the controller


def test_a_slurmctld_that_is_killed_changes_no_state_and_is_waited_for(pman: System) -> None:
    running(pman, "killed-ctld", code=3)
    wait_until_saved(only_id(pman, "killed-ctld"))
    kill("slurmctld")
    try:
        wait_for("it is told that Slurm is away", lambda: not health(pman)[0], 60)
        post(pman, traced("posted-without", code=2, **SMALL))
        wait_for("the new job says why it waits", lambda: "Slurm" in get(pman, "posted-without")["message"], 60)
        assert get(pman, "killed-ctld")["status"] == "started"
        assert get(pman, "posted-without")["status"] == "notstarted"
        go(pman, "killed-ctld")  # it ends while nobody can tell
        wait_for("its program has ended", lambda: traces(pman, "killed-ctld", "ends"))
    finally:
        bring_up()
    for jid, code in (("killed-ctld", 3), ("posted-without", 2)):
        record = wait_end(pman, jid, 120)
        assert (record["status"], record["exit_code"], once(pman, jid)) == ("finishedWithError", code, (1, 1)), (
            f"{record}"
        )
    assert len(native_ids(pman, "posted-without")) == 1
    wait_for("all is well again", lambda: health(pman)[0])


def test_a_slurmctld_that_hangs_loses_nobody_and_repeats_nothing(pman: System) -> None:
    running(pman, "stopped-ctld")
    with stopped("slurmctld", STOPPED_S):
        post(pman, traced("posted-meanwhile", **SMALL))
        go(pman, "stopped-ctld")
        wait_for("it is told that Slurm is away", lambda: not health(pman)[0], 60)
        assert get(pman, "stopped-ctld")["status"] == "started"
        assert get(pman, "posted-meanwhile")["status"] == "notstarted"
    for jid in ("stopped-ctld", "posted-meanwhile"):
        record = wait_end(pman, jid, 120)
        assert (record["status"], once(pman, jid)) == ("finishedSuccessfully", (1, 1)), f"{record}"


# -- nodes


def test_a_node_that_dies_under_a_job_is_told_and_the_job_is_not_repeated(pman: System) -> None:
    running(pman, "dead-node")
    job_id, node = only_id(pman, "dead-node"), last_node()
    kill(f"slurmd-{node}")
    try:
        kill_processes(f"slurmstepd: \\[{job_id}\\.", "slurmstepd")
        record = wait_end(pman, "dead-node", 180)
        assert (record["status"], record["reason"]) == ("finishedWithError", "NODE_FAIL"), f"{record}"
        assert node in record["message"]
    finally:
        go(pman, "dead-node")
        bring_up()
    assert traces(pman, "dead-node") == 1
    assert native_state(job_id) == "NODE_FAIL"


def test_a_job_waits_for_a_node_that_is_drained_and_says_why(pman: System) -> None:
    slurm("scontrol", "update", f"NodeName={last_node()}", "State=DRAIN", "Reason=maintenance")
    try:
        post(pman, traced("drained", **SMALL))
        wait_for("it says why it waits", lambda: "ReqNodeNotAvail" in get(pman, "drained")["message"], 60)
        assert get(pman, "drained")["status"] == "notstarted"
    finally:
        slurm("scontrol", "update", f"NodeName={last_node()}", "State=RESUME")
    assert wait_end(pman, "drained", 120)["status"] == "finishedSuccessfully"
    assert once(pman, "drained") == (1, 1)


def test_a_program_that_the_kernel_kills_for_want_of_memory_on_the_node_ends_its_job(pman: System) -> None:
    post(pman, traced("no-memory", f": the-largest; {UNTIL_TOLD}", **SMALL))
    wait_for("the program has begun", lambda: traces(pman, "no-memory"))
    kill_processes("the-largest", "sh")
    record = wait_end(pman, "no-memory")
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 137), f"{record}"
    assert "SIGKILL" in record["message"] or "killed" in record["message"].lower(), f"{record}"
    assert once(pman, "no-memory") == (1, 0)


@pytest.mark.skipif(STOPPED_S < 30, reason="Slurm takes two minutes to miss a step; SLURM_STOPPED_S=30 waits for it")
def test_a_step_that_the_kernel_kills_for_want_of_memory_on_the_node_ends_its_job(pman: System) -> None:
    running(pman, "no-step")
    kill_processes(f"slurmstepd: \\[{only_id(pman, 'no-step')}\\.", "slurmstepd")
    record = wait_end(pman, "no-step", 240)
    go(pman, "no-step")
    assert record["status"] == "finishedWithError", f"{record}"
    assert record["message"]
    assert traces(pman, "no-step") == 1


# -- administrators


def test_a_job_that_an_administrator_cancels_says_so(pman: System) -> None:
    running(pman, "cancelled")
    slurm("scancel", str(only_id(pman, "cancelled")))
    record = wait_end(pman, "cancelled")
    assert (record["status"], record["reason"]) == ("finishedWithError", "CANCELLED"), f"{record}"
    assert "cancelled in Slurm" in record["message"]
    assert once(pman, "cancelled") == (1, 0)


def test_a_job_that_an_administrator_requeues_is_not_run_again(pman: System) -> None:
    running(pman, "requeued")
    job_id = only_id(pman, "requeued")
    slurm("scontrol", "update", f"JobId={job_id}", "Requeue=1")
    slurm("scontrol", "requeue", str(job_id))
    record = wait_end(pman, "requeued")
    assert (record["status"], record["reason"]) == ("finishedWithError", "REQUEUED"), f"{record}"
    # Slurm lets it wait for two minutes; its second run is to come and to do nothing, unless pman has ended it by then.
    slurm("scontrol", "update", f"JobId={job_id}", "StartTime=now", check=False)
    wait_for("Slurm has done with it", lambda: native_state(job_id) in {"FAILED", "CANCELLED", ""}, 90)
    assert once(pman, "requeued") == (1, 0)
    assert get(pman, "requeued")["reason"] == "REQUEUED"


# -- limits


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
        reply = requests.post(f"{pman.url}/api/v1/", json=request, timeout=10)
        assert reply.status_code == 201
        record = wait_end(pman, "read-only")
        assert record["status"] == "finishedWithError", f"{record}"
        assert "Read-only" in record["logs"] + record["message"], f"{record}"
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# -- many at once


def test_two_hundred_jobs_at_once_cost_no_more_listings_than_one(pman: System, calls: Calls) -> None:
    jids = [f"many-{number}" for number in range(200)]
    began_s = time.time()
    slurm("scontrol", "update", f"NodeName={last_node()}", "State=DRAIN", "Reason=test")
    try:
        for jid in jids:
            post(pman, traced(jid, **SMALL))
        wait_for("all are in Slurm's queue", lambda: len(native_ids(pman)) >= len(jids), 120)
        quiet_s = time.time()
        time.sleep(6)
        seconds = time.time() - quiet_s
        asked = [what for _, what in calls.since(quiet_s) if what.startswith("squeue")]
        # One process asks for all: the observer, twice a second.
        assert len(asked) <= seconds / 0.5 + 1, f"{len(asked)} listings in {seconds:.1f} s"
        assert all(get(pman, jid)["status"] == "notstarted" for jid in jids)
        submits = [what for _, what in calls.since(began_s) if what.startswith("sbatch")]
        assert len(submits) == len(jids)
    finally:
        slurm("scontrol", "update", f"NodeName={last_node()}", "State=RESUME")
        for jid in jids:
            delete(pman, jid)
    wait_nothing_left(pman, 120)
