"""What somebody does to jobs by hand, with kubectl."""

import pytest

from testbed.system import System
from tests.engines.jobs import body, get, go, post, running, traces, wait_end
from tests.engines.kube import NOWHERE, Cluster
from tests.engines.kube_faults.pman import delete_all, wait_message

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(900)]


@pytest.mark.parametrize("how", ["background", "foreground", "orphan"])
def test_jobs_that_are_deleted_by_hand(kube: Cluster, pman: System, how: str) -> None:
    """One that runs and one that waits; and the pods alone of two others."""
    runs, waits, podless, unbegun = (f"{how}-{name}" for name in ("runs", "waits", "podless", "unbegun"))
    running(pman, runs, podless, code=3)
    for jid in (waits, unbegun):
        post(pman, body(jid, "true", image=NOWHERE))
    for jid in (waits, unbegun):
        wait_message(pman, jid, "registry.invalid")
    for jid in (podless, unbegun):
        kube.kubectl("delete", "pods", "-l", f"pman.chrisproject.org/jid={jid}", "--wait=false")
    for jid in (runs, waits):
        kube.kubectl("delete", "jobs", "-l", f"pman.chrisproject.org/jid={jid}", f"--cascade={how}", "--wait=false")
    if how == "orphan":
        go(pman, runs)
        record = wait_end(pman, runs)
        assert (record["status"], record["exit_code"]) == ("finishedWithError", 3), "its pod went on to its own end"
        assert get(pman, waits)["status"] == "notstarted", "its pod still waits"
    else:
        # Who heard of the last state knows the exit code; else the cluster denies the job for a while, and it is lost.
        for jid in (runs, waits):
            record = wait_end(pman, jid)
            assert (record["status"], record["reason"]) in {
                ("finishedWithError", "SIGNALLED"),
                ("finishedWithError", "VANISHED"),
                ("undefined", "VANISHED"),
            }, record
    record = wait_end(pman, podless)
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 137)
    record = wait_end(pman, unbegun)  # its code was made up by the kubelet; who sees its pod no more cannot know that
    assert record["status"] == "finishedWithError"
    assert record["reason"] == "VANISHED" or "or its pod was deleted before it had begun" in record["message"], record
    assert [traces(pman, jid) for jid in (runs, podless, waits, unbegun)] == [1, 1, 0, 0]
    delete_all(kube, pman, runs, waits, podless, unbegun)
