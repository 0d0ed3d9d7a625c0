"""Redis is restarted, killed, or full: what was accepted is there after it, has run once, and has a true end."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from testbed.system import System, wait_for
from tests.e2e.jobs import body, prepare
from tests.faults.scene import Start, ask, bring_up, check_ends, gated, open_gate, pids, post, try_post, wait_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_redis_with_its_aof_forgets_nothing_and_nobody_dies_of_it(start: Start, kill: bool) -> None:
    system = bring_up(start, workers=("worker", "worker-2"))
    before = pids(system)
    codes = {f"before-{number}": number % 3 for number in range(6)}
    for number, (jid, code) in enumerate(codes.items()):
        post(system, jid, 3.0 if number % 2 else 0.1, code)
    during = {f"during-{number}": number % 3 for number in range(20)}
    with ThreadPoolExecutor(4) as clients:
        posted = [clients.submit(post, system, jid, 0.1, code) for jid, code in during.items()]
        system.stop_redis(kill=kill)
        # Longer than a restart takes: clients and workers have met the closed door.
        wait_for("a POST is refused", lambda: try_post(system, "refused") == 503)
        system.start_redis()
        for one in posted:
            one.result()
    check_ends(system, codes | during)
    assert pids(system) == before


def test_a_full_redis_refuses_new_jobs_shows_the_old_ones_and_is_true_when_there_is_room(start: Start) -> None:
    system = bring_up(start)
    before = pids(system)
    post(system, "ends-meanwhile", 0, 3, **gated("gate"))
    post(system, "victim", 60.0)
    wait_status(system, "ends-meanwhile", "started")
    wait_status(system, "victim", "started")
    # Messages that wait when there is no room any more: taking one is a write, too.
    system.signal("worker", signal.SIGSTOP)
    waiting = {f"waits-{number}": number % 3 for number in range(5)}
    for jid, code in waiting.items():
        post(system, jid, 0.1, code)
    with redis.Redis(port=system.redis_port) as server:
        server.config_set("maxmemory", "1")
        system.signal("worker", signal.SIGCONT)
        wait_for("the worker has met it", lambda: "OutOfMemory" in system.output("worker"))
        check_full(system)
        server.config_set("maxmemory", "0")
    post(system, "refused", 0.1, 1)
    wait_for("DELETE is accepted", lambda: ask(system, "DELETE", "/api/v1/victim/").status_code == 204)
    check_ends(system, {"ends-meanwhile": 3, "refused": 1} | waiting)
    assert ask(system, "GET", "/api/v1/victim/").status_code == 404
    assert pids(system) == before


def check_full(system: System) -> None:
    prepare(system, "refused")
    refused = ask(system, "POST", "/api/v1/", json=body("refused", 0.1, 1))
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    open_gate(system, "ends-meanwhile")
    for _ in range(10):
        shown = ask(system, "GET", "/api/v1/ends-meanwhile/")
        assert shown.status_code == 200
        # The end may come through, and is whole then: a script whose first write takes no room may go on.
        told = (shown.json()["status"], shown.json()["exit_code"])
        assert told in {("started", None), ("finishedWithError", 3)}
        assert ask(system, "GET", "/jobs/").status_code == 200
        assert ask(system, "GET", "/api/v1/refused/").status_code == 404
    assert ask(system, "DELETE", "/api/v1/victim/").status_code in {204, 503}
