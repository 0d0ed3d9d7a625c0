"""Everything together on Docker: HTTP in, one container for each job, true ends, nothing left behind."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from testbed.engine_proxy import EngineProxy
from testbed.system import System, wait_for
from tests.engines.jobs import (
    IMAGE,
    PATIENCE_S,
    body,
    containers,
    delete,
    get,
    post,
    running,
    traced,
    traces,
    wait_end,
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
Start = Callable[..., System]

JOBS, CLIENTS = 50, 16
CALLS_PER_JOB = 4
"""Create, start, logs, delete."""
INSPECT = "GET /containers/*/json"
INSPECTIONS_PER_JOB_MAX = 3
"""Who failed is looked at, and again if a busy engine tells the end before it shows it; never once per poll."""
NOWHERE = "127.0.0.1:1/image:1"
"""Of a registry that is away, as the engine hears at once; what becomes of a name hangs on whom this machine asks."""
SHARED = {"GET /events", "GET /containers/json", "GET /_ping", "GET /info", "GET /version"}
"""Calls for all jobs at once: listings, events, the connection itself."""


def test_fifty_jobs_of_sixteen_clients_are_true_and_cheap(
    start: Start, docker_url: str, proxied: Callable[[str], EngineProxy]
) -> None:
    proxy = proxied(docker_url)
    system = start(proxy.url, LIVE_LOGS_S="0", RECONCILE_S="10", REQUEUE_S="60")
    proxy.forget()

    def live(number: int) -> None:
        """The life of one job: it is polled all the time."""
        jid = f"job-{number}"
        post(system, traced(jid, f"sleep 0.{number % 10}", number % 4))
        record = wait_end(system, jid, 120)
        assert record["status"] == ("finishedWithError" if number % 4 else "finishedSuccessfully"), record
        assert (record["exit_code"], record["logs"]) == (number % 4, "working\n"), record

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(live, range(JOBS)))
    jids = [f"job-{number}" for number in range(JOBS)]
    assert [(traces(system, jid), traces(system, jid, "ends")) for jid in jids] == [(1, 1)] * JOBS
    assert len(containers(docker_url, system)) == JOBS
    for jid in jids:
        delete(system, jid)
    wait_for("nothing is left behind", lambda: not containers(docker_url, system), PATIENCE_S)
    store = system.connect_store()
    wait_for("all obligations are settled", lambda: not store.counts("docker")["obligations"], PATIENCE_S)
    # A call that a busy engine has not answered in time is told, and made again.
    told = "".join(log.read_text() for log in system.folder.glob("*.log"))
    unanswered, put_off = told.count("the engine does not answer"), told.count("submit put off")
    calls = proxy.calls()
    single = {call: count for call, count in calls.items() if call not in SHARED}
    assert single.pop(INSPECT) <= INSPECTIONS_PER_JOB_MAX * JOBS
    assert sum(single.values()) <= CALLS_PER_JOB * JOBS + unanswered, (single, unanswered)
    assert JOBS <= single["POST /containers/create"] <= JOBS + put_off


def test_what_old_clients_rely_on(start: Start, docker_url: str) -> None:
    system = start(docker_url)
    jobs = {
        "good": traced("good"),
        "bad": traced("bad", code=3),
        "oom": body("oom", "exec dd if=/dev/zero of=/dev/null bs=300M count=1", memory_limit=50),
        "missing": body("missing", "true", image=NOWHERE),
        "wrong": body("wrong", "", entrypoint=["/no/such/program"]),
    }
    system.start_pull_worker()
    for request in jobs.values():
        post(system, request)
    expected = {
        "good": ("finishedSuccessfully", ""),
        "bad": ("finishedWithError", "exit code 3"),
        "oom": ("finishedWithError", "out of memory, the limit was 50 MiB"),
        "wrong": ("finishedWithError", "/no/such/program"),
    }
    for jid, (status, message) in expected.items():
        record = wait_end(system, jid)
        assert record["status"] == status, record
        assert message in record["message"]
        assert record["timestamp"]
        assert record["image"] == IMAGE
    assert get(system, "good")["cmd"].endswith("job /share/outgoing")
    assert get(system, "good")["logs"] == "working\n"
    wait_for("the pull is told", lambda: "connection refused" in get(system, "missing")["message"], PATIENCE_S)
    assert get(system, "missing")["status"] == "notstarted", "the registry may come back"


def test_a_registry_that_stays_away_ends_the_job(start: Start, docker_url: str) -> None:
    system = start(docker_url, IMAGE_PULL_TIMEOUT_S="3")
    system.start_pull_worker()
    post(system, body("missing", "true", image=NOWHERE))
    record = wait_end(system, "missing")
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL")
    assert "connection refused" in record["message"]
    assert record["cmd"]


def test_two_instances_on_one_engine_do_not_see_each_other(start: Start, docker_url: str) -> None:
    one, two = start(docker_url), start(docker_url)
    running(one, "same")
    post(two, traced("same", "sleep 0.1", 4))
    assert wait_end(two, "same")["exit_code"] == 4
    delete(two, "same")
    wait_for("the other's container is gone", lambda: not containers(docker_url, two), PATIENCE_S)
    assert get(one, "same")["status"] == "started"
    assert [container["State"] for container in containers(docker_url, one)] == ["running"]
    delete(one, "same")
    wait_for("ours is gone", lambda: not containers(docker_url, one), PATIENCE_S)


def test_a_time_limit_ends_a_running_job(start: Start, docker_url: str) -> None:
    system = start(docker_url, TIMELIMIT_MINUTES="1")
    post(system, traced("long", "sleep 300"))
    record = wait_end(system, "long", 60 + PATIENCE_S)
    assert (record["status"], record["reason"]) == ("finishedWithError", "TIME_LIMIT")
    assert "ended at its time limit of 1 min" in record["message"]
    delete(system, "long")
    wait_for("nothing is left behind", lambda: not containers(docker_url, system), PATIENCE_S)
