"""Everything together on Kubernetes: HTTP in, one Job for each job, true ends in time, nothing left behind."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backends._kubernetes.connection import connect
from backends._kubernetes.identity import JID
from backends._kubernetes.settings import KubernetesSettings
from testbed.system import System, wait_for
from tests.engines.jobs import body, delete, get, post, traced, traces, wait_end, wait_status
from tests.engines.kube import Cluster, access, cluster, missing

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]
Start = Callable[..., System]

JOBS, CLIENTS = 30, 8
SEEN_P95_S_MAX = 2.0
"""The goal on a quiet machine is a quarter of it."""


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if lacking := missing():
        required = "kubernetes" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    with cluster() as made:
        yield made


@pytest.fixture
def start(kube: Cluster) -> Iterator[Start]:
    """Return a function that brings up all of pman on the cluster."""
    systems: list[System] = []

    def bring_up(**env: str) -> System:
        settings = {
            "KUBECONFIG": str(access()),
            "JOB_NAMESPACE": kube.namespace,
            "KUBE_REQUEST_RATIO": "0.01",
            "LIVE_LOGS_S": "0",
            "PMAN_INSTANCE": f"system-{len(systems)}",
        }
        folder = kube.store_base / f"system-{len(systems)}"
        system = System(folder, "kubernetes", env=settings | env)
        systems.append(system)
        system.start_redis()
        system.start_api()
        system.start_worker()
        system.start_observer()
        system.wait_ready()
        return system

    yield bring_up
    for system in systems:
        system.close()


def left(kube: Cluster) -> list[str]:
    """Return what Kubernetes itself has of any job."""
    return kube.kubectl("get", "jobs,pods", "-o", "name").split()


class Ends:
    """When each Job was seen to have its end, by a watch of the test's own."""

    def __init__(self, kube: Cluster) -> None:
        self.at_s: dict[str, float] = {}
        self._api = connect(KubernetesSettings(kubeconfig=str(access())))
        self._path = f"/apis/batch/v1/namespaces/{kube.namespace}/jobs"
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        buffer = b""
        with self._api.stream(self._path, {"watch": "1", "timeoutSeconds": "200"}, 200) as response:
            for chunk in response.stream(65536, decode_content=True):
                now_s = time.monotonic()
                *lines, buffer = (buffer + chunk).split(b"\n")
                for job in (json.loads(line)["object"] for line in lines):
                    ended = {c["type"] for c in job.get("status", {}).get("conditions", ())} & {"Complete", "Failed"}
                    if ended:
                        self.at_s.setdefault(job["metadata"]["annotations"][JID], now_s)


def test_thirty_jobs_of_eight_clients_are_true_and_in_time(start: Start, kube: Cluster) -> None:
    system, ends = start(), Ends(kube)
    late_s: list[float] = []

    def live(number: int) -> None:
        """The life of one job: it is polled all the time."""
        jid = f"job-{number}"
        post(system, traced(jid, f"sleep 0.{number % 10}", number % 4))
        record = wait_end(system, jid, 150)
        late_s.append(time.monotonic() - ends.at_s.get(jid, time.monotonic()))
        assert record["status"] == ("finishedWithError" if number % 4 else "finishedSuccessfully"), record
        assert (record["exit_code"], record["logs"]) == (number % 4, "working\n"), record

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(live, range(JOBS)))
    jids = [f"job-{number}" for number in range(JOBS)]
    assert [(traces(system, jid), traces(system, jid, "ends")) for jid in jids] == [(1, 1)] * JOBS
    assert len([name for name in left(kube) if name.startswith("job")]) == JOBS
    for jid in jids:
        delete(system, jid)
    wait_for("nothing is left behind", lambda: not left(kube), 60)
    wait_for("all obligations are settled", lambda: not system.connect_store().obligations("kubernetes", 1), 30)
    p95_s = sorted(late_s)[int(0.95 * JOBS)]
    assert p95_s <= SEEN_P95_S_MAX, (
        f"from the end of a Job to GET: p50 {sorted(late_s)[JOBS // 2]:.3f} s, p95 {p95_s:.3f} s"
    )


def test_an_image_that_never_comes_is_told_within_the_grace(start: Start, kube: Cluster) -> None:
    grace_s = 5
    system = start(KUBE_START_GRACE_S=str(grace_s))
    post(system, body("missing", "true", image="registry.invalid/nothing:1"))

    def tells(record: dict[str, Any]) -> bool:
        return "registry.invalid" in record["message"]

    wait_for("the kubelet's words", lambda: tells(get(system, "missing")), 60)
    began_s = time.monotonic()
    record = wait_end(system, "missing", grace_s + 5)
    assert time.monotonic() - began_s > grace_s / 2, "the registry had a chance to come back"
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL")
    assert tells(record)
    assert not [name for name in left(kube) if name.startswith("pod")]


def test_a_job_that_is_deleted_while_it_runs_is_gone_and_its_jid_is_free(start: Start, kube: Cluster) -> None:
    system = start()
    post(system, traced("same", "sleep 60"))
    wait_status(system, "same", "started")
    delete(system, "same")
    post(system, traced("same", "true", 4))
    assert wait_end(system, "same")["exit_code"] == 4
    delete(system, "same")
    wait_for("nothing is left behind", lambda: not left(kube), 60)
