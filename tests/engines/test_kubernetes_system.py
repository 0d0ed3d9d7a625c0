"""Everything together on Kubernetes: true ends in time, and nothing left behind."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, body, delete, get, post, traced, wait_end, wait_status
from tests.engines.kube import LONG, NOWHERE, Cluster, cluster, need_cluster
from tests.engines.kube_system import left, start_system

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]
Start = Callable[..., System]
LATE_S = 5
"""So long after the grace, at most, an image that cannot be pulled is told to have ended its job. That is a promise of
time, and the machine is shared: what a whole job takes just now is added."""


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    need_cluster(request)
    with cluster() as made:
        yield made


@pytest.fixture
def start(kube: Cluster) -> Iterator[Start]:
    """Return a function that brings up all of pman on the cluster."""
    systems: list[System] = []

    def bring_up(**env: str) -> System:
        systems.append(start_system(kube, f"system-{len(systems)}", **env))
        return systems[-1]

    yield bring_up
    for system in systems:
        system.close()


def test_an_image_that_never_comes_is_told_within_the_grace(start: Start, kube: Cluster) -> None:
    grace_s = 5
    system = start(KUBE_START_GRACE_S=str(grace_s))
    posted_s = time.monotonic()
    post(system, body("whole", "true"))
    wait_end(system, "whole")
    whole_s = time.monotonic() - posted_s
    delete(system, "whole")
    wait_for("nothing of it is left", lambda: not left(kube), PATIENCE_S)
    posted_s = time.monotonic()
    post(system, body("missing", "true", image=NOWHERE))

    def tells(record: dict[str, Any]) -> bool:
        return "registry.invalid" in record["message"]

    wait_for("the kubelet's words", lambda: tells(get(system, "missing")), PATIENCE_S)
    record = wait_end(system, "missing", grace_s + LATE_S + whole_s)
    assert time.monotonic() - posted_s > grace_s, "the registry had a chance to come back"
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL")
    assert tells(record)
    wait_for("nobody goes on pulling", lambda: not left(kube, "pods"), PATIENCE_S)


def test_a_job_that_is_deleted_while_it_runs_is_gone_and_its_jid_is_free(start: Start, kube: Cluster) -> None:
    system = start()
    post(system, traced("same", LONG))
    wait_status(system, "same", "started")
    delete(system, "same")
    post(system, traced("same", "true", 4))
    assert wait_end(system, "same")["exit_code"] == 4
    delete(system, "same")
    wait_for("nothing is left behind", lambda: not left(kube), PATIENCE_S)
