"""The parts of the cluster: its API server is killed, a watch loses its place, its kubelet hangs."""

import threading
import time

import pytest

from backends._kubernetes.connection import connect
from backends._kubernetes.errors import Expired
from backends._kubernetes.identity import selector
from backends._kubernetes.watch import Streams
from pman_core.states import State
from testbed import kit
from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, delete, get, go, post, running, traced, traces, wait_end
from tests.engines.kube import Cluster, patient, seen
from tests.engines.kube_faults.pman import delete_all, health, wait_message
from tests.engines.kube_system import left

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(900)]

STOPPED_S = 60.0
"""Longer than the API server waits for a node: https://kubernetes.io/docs/reference/node/node-status/#heartbeats"""
SILENT = "does not answer since"


def test_jobs_under_an_api_server_that_is_killed(kube: Cluster, pman: System) -> None:
    before, during, after = (["away-1", "away-2", "short"], ["sent-1", "sent-2"], ["after"])
    running(pman, *before, code=3)
    running(pman, "doomed")
    cursor = kube.backend({"pman_instance": "faults"}).cursor()
    with kit.without_api_server():
        go(pman, "short")
        for jid in during:
            post(pman, traced(jid))
        delete(pman, "doomed")
        for jid in during:
            wait_message(pman, jid, "the API server does not answer")
        wait_for("the API tells that the cluster does not answer", lambda: not health(pman)[0], PATIENCE_S)
        assert {get(pman, jid)["status"] for jid in before} == {"started"}, "a server that is away says nothing"
    go(pman, *before)
    records = {jid: wait_end(pman, jid) for jid in [*before, *during]}
    assert {(records[jid]["status"], records[jid]["exit_code"]) for jid in before} == {("finishedWithError", 3)}
    assert {records[jid]["status"] for jid in during} == {"finishedSuccessfully"}
    post(pman, traced(*after))
    assert wait_end(pman, "after")["status"] == "finishedSuccessfully"
    jids = [*before, *during, *after]
    assert [(traces(pman, jid), traces(pman, jid, "ends")) for jid in jids] == [(1, 1)] * len(jids)
    wait_for("what was deleted is gone", lambda: len(left(kube, "jobs")) == len(jids), PATIENCE_S)
    wait_for("all is well again", lambda: health(pman)[0], PATIENCE_S)
    missed = told_since(kube, cursor, len(jids))
    assert missed == dict.fromkeys(before, State.FAILED) | dict.fromkeys([*during, *after], State.SUCCEEDED)
    delete_all(kube, pman, *jids)


def told_since(kube: Cluster, cursor: str, jobs: int) -> dict[str, State]:
    """Return what a stream tells of so many jobs; they have ended."""
    stop, told = threading.Event(), {}
    for event in kube.backend({"pman_instance": "faults"}).watch(cursor, stop):
        if event.observed is not None:
            told[event.observed.jid] = event.observed.state
        if event.observed is None or len(told) == jobs:
            stop.set()
    return told


def test_a_watch_whose_place_has_expired(kube: Cluster) -> None:
    api = connect(patient())
    paths = {
        "jobs": f"/apis/batch/v1/namespaces/{kube.namespace}/jobs",
        "pods": f"/api/v1/namespaces/{kube.namespace}/pods",
    }
    with Streams(api, selector("expired"), paths, {"jobs": "1", "pods": "1"}) as streams, pytest.raises(Expired):
        wait_for("the server's 410", streams.take, PATIENCE_S)
    api.close()
    backend = kube.backend()
    spec = kube.spec("exit 3")
    backend.submit(spec)
    seen(backend, spec)
    stop, told = threading.Event(), []
    for event in kube.backend().watch("1.1", stop):
        told += [] if event.observed is None else [event.observed]
        stop.set()
    assert [(observed.jid, observed.state, observed.exit_code) for observed in told] == [(spec.jid, State.FAILED, 3)]
    backend.remove(spec.jid, spec.generation)


def test_a_kubelet_that_hangs_for_a_minute(kube: Cluster, pman: System) -> None:
    running(pman, "long", "quick", code=3)
    with kit.stopped_kubelet():
        go(pman, "quick")
        hung_s = time.monotonic()
        post(pman, traced("during"))
        while time.monotonic() - hung_s < STOPPED_S:
            assert [get(pman, jid)["status"] for jid in ("long", "quick", "during")] == [
                "started",
                "started",
                "notstarted",
            ]
            time.sleep(0.2)  # a client that polls
        wait_for(
            "the cluster has given its node up", lambda: "node.kubernetes.io/unreachable" in taints(kube), PATIENCE_S
        )
        record = wait_for(
            "the message tells it", lambda: SILENT in (found := get(pman, "long"))["message"] and found, PATIENCE_S
        )
        assert record["status"] == "started", "and pman has not"
    assert (wait_end(pman, "quick")["status"], get(pman, "quick")["exit_code"]) == ("finishedWithError", 3)
    assert wait_end(pman, "during")["status"] == "finishedSuccessfully"
    wait_for("the node answers", lambda: get(pman, "long")["message"] == "", PATIENCE_S)
    assert get(pman, "long")["status"] == "started"
    go(pman, "long")
    assert wait_end(pman, "long")["exit_code"] == 3
    jids = ["long", "quick", "during"]
    assert [(traces(pman, jid), traces(pman, jid, "ends")) for jid in jids] == [(1, 1)] * 3
    assert len(left(kube, "jobs")) == 3
    delete_all(kube, pman, *jids)


def taints(kube: Cluster) -> str:
    return kube.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints}")
