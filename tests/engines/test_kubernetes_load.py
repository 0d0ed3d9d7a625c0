"""Thirty jobs of eight clients that poll all the time: what they are told, when, and what it costs the API server.

It runs alone: figures that are taken beside other tests tell of these.
"""

import shutil
from collections.abc import Iterator

import pytest

from backends._kubernetes.identity import GENERATION
from testbed.kit import AuditedServer, Call, audited_server, count
from testbed.system import System, wait_for
from tests.engines.jobs import delete
from tests.engines.kube import PATIENCE_S, Cluster, access, cluster
from tests.engines.kube_system import Ends, left, need_kit, start_system, wait_nothing_left
from tests.engines.load import Pulse, told_of_jobs

pytestmark = [pytest.mark.e2e, pytest.mark.kubernetes, pytest.mark.timeout(900)]

JOBS, CLIENTS = 30, 8
CREATED = 201
CALLS_PER_JOB_MAX = 6
SEEN_P95_S_MAX = 0.5
"""Both are promises of pman. The second is of time, and the machine is shared: see ``PULSES`` and ``ROUNDS_MAX``."""
PULSES, QUIET_REPLY_S, BUSY_S_MAX = 4, 0.05, 1.0
"""An end is heard of by two watches, its log is asked for (of the API server, who asks the kubelet), it is written into
Redis, and told in a reply: that is some four times the way of any reply through the API and Redis and back. What that
way takes longer than on a machine of one's own is added, up to a second: slow replies of pman's own are no excuse."""
ROUNDS_MAX = 3
"""What is slow by itself is so each time; what else the machine is at passes."""
SHARED = {"list jobs", "list pods", "watch jobs", "watch pods", "get /version", "create selfsubjectaccessreviews"}
"""Calls for all jobs at once, if they do not ask for one of them: listings, watches, whether all is well."""


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    need_kit(request)
    with cluster() as made:
        yield made


@pytest.fixture
def server(kube: Cluster) -> Iterator[AuditedServer]:
    found = access()
    assert found is not None
    with audited_server(found) as started:
        yield started


@pytest.fixture
def pman(kube: Cluster, server: AuditedServer) -> Iterator[System]:
    system = start_system(kube, "load", KUBECONFIG=str(server.kubeconfig))
    yield system
    system.close()


def is_shared(call: Call) -> bool:
    return bool(count([call]).keys() & SHARED) and GENERATION not in call.uri.replace("%2F", "/")


def test_thirty_jobs_of_eight_clients_are_true_in_time_and_cheap(
    kube: Cluster, server: AuditedServer, pman: System, capsys: pytest.CaptureFixture[str]
) -> None:
    too_late_s = []
    for _ in range(ROUNDS_MAX):
        p95_s, reply_s, figures = run_jobs(kube, server, pman)
        with capsys.disabled():
            print(figures)  # noqa: T201 - what this test is for
        too_late_s.append(p95_s - SEEN_P95_S_MAX - min(BUSY_S_MAX, PULSES * max(0.0, reply_s - QUIET_REPLY_S)))
        if too_late_s[-1] <= 0:
            break
    assert min(too_late_s) <= 0


def run_jobs(kube: Cluster, server: AuditedServer, pman: System) -> tuple[float, float, str]:
    """Let all jobs run and delete them. Returns how late GET tells the end of a Job and how long any reply takes, both
    at p95, and all figures.
    """
    before = len(server.calls())
    jids = [f"job-{number}" for number in range(JOBS)]
    with Ends(kube) as ends:
        with Pulse(pman) as pulse:
            told_s = told_of_jobs(pman, JOBS, CLIENTS, 150)
        wait_for("the test itself has seen all ends", lambda: ends.at_s.keys() >= set(jids), PATIENCE_S)
    assert len(left(kube, "jobs")) == JOBS, "one Job each"
    for jid in jids:
        delete(pman, jid)
    wait_nothing_left(kube, pman)
    for jid in jids:
        shutil.rmtree(pman.store_base / jid)  # with the traces that the next round would count
    calls = server.calls()[before:]
    own = [call for call in calls if not is_shared(call)]
    made = [call for call in own if call.code == CREATED]
    assert count(made) == {"create jobs": JOBS}
    assert len(own) <= CALLS_PER_JOB_MAX * JOBS, count(own)
    late_s = sorted(max(0.0, told_s[jid] - ends.at_s[jid]) for jid in jids)
    p50_s, p95_s = late_s[JOBS // 2], late_s[int(0.95 * JOBS)]
    return (
        p95_s,
        pulse.p95_s,
        (
            f"\n{JOBS} jobs, {CLIENTS} clients: {len(own) / JOBS:.1f} calls a job, and {len(calls) - len(own)} for all"
            f" together; from the end of a Job to GET p50 {p50_s * 1000:.0f} ms, p95 {p95_s * 1000:.0f} ms;"
            f" any reply p95 {pulse.p95_s * 1000:.0f} ms"
        ),
    )
