"""The master of a Redis behind Sentinels is killed: what was accepted is on the new one, and nothing runs twice."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.sentinel import SentinelRedis
from testbed.system import wait_for
from tests.faults.scene import Start, bring_up, check_ends, gated, get, open_gate, pids, post, try_post, wait_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture
def redis_there(tmp_path: Path) -> Iterator[SentinelRedis]:
    servers = SentinelRedis(tmp_path / "redis")
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


def test_a_new_master_has_every_accepted_job_and_all_processes_use_it(start: Start, redis_there: SentinelRedis) -> None:
    system = bring_up(start, workers=("worker", "worker-2"), env={"REDIS_URL": redis_there.url}, is_redis_there=True)
    before = pids(system)
    running = {f"runs-{number}": number for number in range(3)}
    for jid, code in running.items():
        post(system, jid, 0, code, **gated("gate"))
    for jid in running:
        wait_status(system, jid, "started")
    # Nobody works: these wait, and are nowhere but in Redis.
    system.kill("worker")
    system.kill("worker-2")
    waiting = {f"waits-{number}": number % 3 for number in range(8)}
    for jid, code in waiting.items():
        post(system, jid, 0.1, code)

    old_port = redis_there.kill_master()
    is_refused = try_post(system, "refused") in {503, 0}
    # On a machine that lets this client wait for seconds there may be a new master by then.
    assert is_refused or redis_there.master_port() != old_port
    with ThreadPoolExecutor(2) as clients:
        during = {f"during-{number}": number % 3 for number in range(6)}
        posted = [clients.submit(post, system, jid, 0.1, code) for jid, code in during.items()]
        redis_there.wait_failover(old_port)
        for one in posted:
            one.result()

    for jid in running | waiting:
        wait_for(f"{jid} is there", lambda jid=jid: get(system, jid))
    assert all(get(system, jid)["status"] == "notstarted" for jid in waiting)
    for jid in running:
        open_gate(system, jid)
    system.restart("worker")
    check_ends(system, running | waiting | during)
    assert system.output("worker").count("ready.") == 2
    assert pids(system).items() >= {name: before[name] for name in ("api", "observer")}.items()


def test_a_worker_and_an_observer_that_live_through_it_go_on(start: Start, redis_there: SentinelRedis) -> None:
    system = bring_up(
        start,
        workers=("worker", "worker-2"),
        observers=("observer", "standby"),
        env={"REDIS_URL": redis_there.url},
        is_redis_there=True,
    )
    before = pids(system)
    running = {f"runs-{number}": number % 3 for number in range(4)}
    for jid, code in running.items():
        post(system, jid, 4.0, code)
    redis_there.wait_failover(redis_there.kill_master())
    after = {f"after-{number}": number % 3 for number in range(8)}
    for jid, code in after.items():
        post(system, jid, 0.1, code)
    check_ends(system, running | after)
    assert pids(system) == before
