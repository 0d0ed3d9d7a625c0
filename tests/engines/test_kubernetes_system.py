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
GRACE_S, LATE_S = 5, 5
"""So long after the grace, at most, an image that cannot be pulled is told to have ended its job. That is a promise of
time, and the machine is shared: what a whole job takes just now is added."""
ROUNDS_MAX = 3
"""What is slow by itself is so each time; what else the machine is at passes."""


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
    system = start(KUBE_START_GRACE_S=str(GRACE_S))
    late_s = []
    for number in range(ROUNDS_MAX):
        whole_s = whole_job(system, kube, f"whole-{number}")
        late_s.append(given_up_after(system, kube, f"missing-{number}") - GRACE_S - whole_s)
        if late_s[-1] <= LATE_S:
            break
    assert min(late_s) <= LATE_S


def whole_job(system: System, kube: Cluster, jid: str) -> float:
    """Return how long a job takes that does nothing."""
    posted_s = time.monotonic()
    post(system, body(jid, "true"))
    wait_end(system, jid)
    took_s = time.monotonic() - posted_s
    remove(system, kube, jid)
    return took_s


def given_up_after(system: System, kube: Cluster, jid: str) -> float:
    """Return how long after the kubelet's first words a job is told to have ended whose image never comes."""
    posted_s = time.monotonic()
    post(system, body(jid, "true", image=NOWHERE))

    def tells(record: dict[str, Any]) -> bool:
        return "registry.invalid" in record["message"]

    wait_for("the kubelet's words", lambda: tells(get(system, jid)), PATIENCE_S)
    told_s = time.monotonic()
    record = wait_end(system, jid)
    ended_s = time.monotonic()
    assert ended_s - posted_s > GRACE_S, "the registry had a chance to come back"
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL")
    assert tells(record)
    wait_for("nobody goes on pulling", lambda: not left(kube, "pods"), PATIENCE_S)
    remove(system, kube, jid)
    return ended_s - told_s


def remove(system: System, kube: Cluster, jid: str) -> None:
    delete(system, jid)
    wait_for(f"nothing of {jid} is left", lambda: not left(kube), PATIENCE_S)


def test_a_job_that_is_deleted_while_it_runs_is_gone_and_its_jid_is_free(start: Start, kube: Cluster) -> None:
    system = start()
    post(system, traced("same", LONG))
    wait_status(system, "same", "started")
    delete(system, "same")
    post(system, traced("same", "true", 4))
    assert wait_end(system, "same")["exit_code"] == 4
    delete(system, "same")
    wait_for("nothing is left behind", lambda: not left(kube), PATIENCE_S)
