"""The wall clock of a worker, an observer or the API jumps: leases, ends, retention and order stay those of the store.

Each false clock is that of one process (its CLOCK_REALTIME); jobs, Redis and the other processes keep the true time.
"""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from pman_core.queues import Purpose, key_prefix, queue_name
from pman_core.states import State
from testbed.false_clock import FalseClock
from testbed.system import System, wait_for
from tests.faults.scene import (
    LEASE_S,
    TIMES,
    Start,
    ask,
    bring_up,
    check_ends,
    gated,
    get,
    is_asleep,
    is_idle,
    open_gate,
    post,
    put_to_sleep,
    start_sleeper,
    wait_end,
    wait_status,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

HOUR_S, MONTH_S = 3600, 30 * 24 * 3600
LONG_LEASE_S = 4 * LEASE_S
"""All that is done while a sleeper holds its lease must fit into it, on a busy machine, too."""


def bring_up_by(start: Start, clock: FalseClock, victims: set[str]) -> System:
    """Start two workers and an observer; those in ``victims`` go by ``clock``."""
    system = start(env=TIMES | {"SUBMIT_LEASE_S": str(LEASE_S), "RETENTION_HOURS": "24"})
    system.start_redis()
    if "api" in victims:
        system.env |= clock.env
    system.start_api()
    for name in clock.env:
        system.env.pop(name, None)
    for name in ("worker", "worker-2"):
        system.start_worker(name, env=clock.env if name in victims else None)
    system.start_observer(env=clock.env if "observer" in victims else None)
    system.wait_ready()
    return system


def is_now(timestamp: str) -> bool:
    return abs(datetime.fromisoformat(timestamp) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("victim", ["worker", "observer", "api"])
def test_a_clock_that_jumps_by_a_month_ends_loses_and_repeats_nothing(
    start: Start, tmp_path: Path, victim: str
) -> None:
    clock = FalseClock(tmp_path / "clock")
    system = bring_up_by(start, clock, {victim})
    post(system, "ended", 0.1, 1)
    ended = wait_end(system, "ended")
    post(system, "anew", 0.1, 0)
    for step, jump_s in enumerate((MONTH_S, -MONTH_S)):
        running = {f"runs-{step}-{number}": number for number in range(3)}
        for jid, code in running.items():
            post(system, jid, 0, code, **gated("gate"))
        for jid in running:
            wait_status(system, jid, "started")
        clock.jump(jump_s)
        later = {f"later-{step}-{number}": number % 3 for number in range(6)}
        for jid, code in later.items():
            post(system, jid, 0.2, code)
        for jid in running:
            open_gate(system, jid)
        check_ends(system, running | later)
        # Not expired, though a clock says that its retention is long over; and no end was told a second time.
        assert get(system, "ended") == ended
        assert all(is_now(get(system, jid)["timestamp"]) for jid in running | later)
        # The new job of a jid comes after its deletion, whatever the clock says that minted the generations.
        assert ask(system, "DELETE", "/api/v1/anew/").status_code == 204
        post(system, "anew", 0.1, 2 + step)
        assert wait_end(system, "anew")["exit_code"] == 2 + step


def test_a_submit_lease_is_not_shortened_by_a_clock_that_is_ahead(start: Start, tmp_path: Path) -> None:
    """A worker whose clock says that all leases are over has the message, and does not take the job from who sleeps."""
    clock = FalseClock(tmp_path / "clock")
    clock.jump(HOUR_S)
    system = bring_up(start, workers=(), env={"SUBMIT_LEASE_S": str(LONG_LEASE_S)})
    store = system.connect_store()
    with redis.Redis(port=system.redis_port, decode_responses=True) as server:
        queue, unacked = key_prefix("pman") + queue_name("process", Purpose.SUBMIT), key_prefix("pman") + "unacked"
        # Both have started before the lease begins: that takes long on a busy machine.
        system.start_worker("ahead", env=clock.env)
        wait_for("it waits for messages", lambda: server.info("clients")["blocked_clients"] > 0)
        put_to_sleep(system, "ahead")
        system.signal("observer", signal.SIGSTOP)  # it would enqueue the job again, and the sleeper take that, too
        post(system, "job", 0.2, 3)
        messages = server.lrange(queue, 0, -1)
        start_sleeper(system, "before-call")
        wait_for("the worker sleeps in the submit", lambda: is_asleep(system, "sleeper"))
        server.rpush(queue, *messages * 3)
        system.signal("ahead", signal.SIGCONT)
        wait_for(
            "the other one has done with the messages", lambda: not server.llen(queue) and server.hlen(unacked) == 1
        )
    record = store.get("job")
    assert record is not None
    assert store.now_ms() < record.lease_until_ms, "the machine was too slow: the lease is over"
    assert (record.state, record.attempts) == (State.SUBMITTING, 1)
    system.signal("observer", signal.SIGCONT)
    assert wait_end(system, "job", timeout_s=LONG_LEASE_S + 100)["exit_code"] == 3
    system.signal("sleeper", signal.SIGCONT)
    wait_for("the sleeper is done with it", lambda: is_idle(system))
    record = store.get("job")
    assert record is not None
    assert (record.exit_code, record.attempts) == (3, 2)
