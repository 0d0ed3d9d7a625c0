"""What a Slurm cluster can suffer while jobs run on it, and that every job's state is still true.

Daemons are killed and stopped, so nothing else may use the cluster meanwhile. All jobs are on its last node, and what
is done to a node is done to that one. SLURM_MISSED_STEP=1: also what Slurm takes minutes to notice.
"""

import os
from collections.abc import Iterator

import pytest
import requests

from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, REPLY_S, get, go, post, running, traced, traces, wait_end
from tests.engines.slurm import last_node, native_ids, native_state, need_slurm, shared_folder, slurm
from tests.engines.slurm_faults import bring_up, kill, kill_processes, repaired, stopped, wait_until_saved
from tests.engines.slurm_system import SMALL, once, only_id, put_off, slurm_system

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.exclusive, pytest.mark.timeout(900)]

FAST = {"REQUEUE_S": "1", "LOST_GRACE_S": "5"}
STOPPED_S = 30.0


@pytest.fixture(scope="module")
def pman(request: pytest.FixtureRequest) -> Iterator[System]:
    """All of pman, on one node of the cluster."""
    need_slurm(request, faults=True)
    options = f"--nodelist={last_node()}"
    with repaired(), shared_folder() as folder, slurm_system(folder, "faults", SLURM_OPTIONS=options, **FAST) as system:
        yield system


def health(system: System) -> tuple[bool, str]:
    """Return what the API tells of the backend."""
    backend = requests.get(f"{system.url}/api/v1/", timeout=REPLY_S).json().get("backend") or {}
    return bool(backend.get("ok")), str(backend.get("message"))


def is_away(message: str) -> bool:
    """Whether a job waits because Slurm is away: sbatch says so itself, if it gives up before pman gives up sbatch."""
    return "Unable to contact" in message or "sbatch: no answer" in message


# -- the controller


def test_a_slurmctld_that_is_killed_changes_no_state_and_is_waited_for(pman: System) -> None:
    running(pman, "killed-ctld", code=3, **SMALL)
    wait_until_saved(only_id(pman, "killed-ctld"))
    kill("slurmctld")
    try:
        wait_for("it is told that Slurm is away", lambda: not health(pman)[0], PATIENCE_S)
        post(pman, traced("posted-without", code=2, **SMALL))
        wait_for("the new job says why it waits", lambda: is_away(get(pman, "posted-without")["message"]), PATIENCE_S)
        assert get(pman, "killed-ctld")["status"] == "started"
        assert get(pman, "posted-without")["status"] == "notstarted"
        go(pman, "killed-ctld")  # it ends while nobody can tell
        wait_for("its program has ended", lambda: traces(pman, "killed-ctld", "ends"), PATIENCE_S)
    finally:
        bring_up()
    for jid, code in (("killed-ctld", 3), ("posted-without", 2)):
        record = wait_end(pman, jid)
        assert (record["status"], record["exit_code"], once(pman, jid)) == ("finishedWithError", code, (1, 1)), (
            f"{record}"
        )
    assert 1 <= len(native_ids(pman, "posted-without")) <= put_off(pman, "posted-without")
    wait_for("all is well again", lambda: health(pman)[0], PATIENCE_S)


def test_a_slurmctld_that_hangs_loses_nobody_and_repeats_nothing(pman: System) -> None:
    running(pman, "stopped-ctld", **SMALL)
    with stopped("slurmctld", STOPPED_S):
        post(pman, traced("posted-meanwhile", **SMALL))
        go(pman, "stopped-ctld")
        wait_for("it is told that Slurm is away", lambda: not health(pman)[0], PATIENCE_S)
        assert get(pman, "stopped-ctld")["status"] == "started"
        assert get(pman, "posted-meanwhile")["status"] == "notstarted"
    for jid in ("stopped-ctld", "posted-meanwhile"):
        record = wait_end(pman, jid)
        assert (record["status"], once(pman, jid)) == ("finishedSuccessfully", (1, 1)), f"{record}"


# -- nodes


def test_a_node_that_dies_under_a_job_is_told_and_the_job_is_not_repeated(pman: System) -> None:
    running(pman, "dead-node", **SMALL)
    job_id, node = only_id(pman, "dead-node"), last_node()
    kill(f"slurmd-{node}")
    try:
        kill_processes(f"slurmstepd: \\[{job_id}\\.", "slurmstepd")
        record = wait_end(pman, "dead-node")
        assert (record["status"], record["reason"]) == ("finishedWithError", "NODE_FAIL"), f"{record}"
        assert node in record["message"]
    finally:
        go(pman, "dead-node")
        bring_up()
    assert traces(pman, "dead-node") == 1
    wait_for("Slurm tells the same", lambda: native_state(job_id) == "NODE_FAIL", PATIENCE_S)


def test_a_job_waits_for_a_node_that_is_drained_and_says_why(pman: System) -> None:
    slurm("scontrol", "update", f"NodeName={last_node()}", "State=DRAIN", "Reason=maintenance")
    try:
        post(pman, traced("drained", **SMALL))
        wait_for("it says why it waits", lambda: "ReqNodeNotAvail" in get(pman, "drained")["message"], PATIENCE_S)
        assert get(pman, "drained")["status"] == "notstarted"
    finally:
        slurm("scontrol", "update", f"NodeName={last_node()}", "State=RESUME")
    assert wait_end(pman, "drained")["status"] == "finishedSuccessfully"
    assert once(pman, "drained") == (1, 1)


@pytest.mark.skipif(
    "SLURM_MISSED_STEP" not in os.environ, reason="Slurm takes two minutes to miss a step; SLURM_MISSED_STEP=1 waits"
)
def test_a_step_that_the_kernel_kills_for_want_of_memory_on_the_node_ends_its_job(pman: System) -> None:
    running(pman, "no-step", **SMALL)
    kill_processes(f"slurmstepd: \\[{only_id(pman, 'no-step')}\\.", "slurmstepd")
    record = wait_end(pman, "no-step", 300)  # not before BatchStartTimeout, and when its node has been asked
    go(pman, "no-step")
    assert record["status"] == "finishedWithError", f"{record}"
    assert record["message"]
    assert traces(pman, "no-step") == 1
