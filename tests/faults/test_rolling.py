"""A rolling upgrade: every process is stopped and started anew, in any order, while jobs come in. None fails."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from testbed.system import System
from tests.faults.scene import Start, bring_up, check_ends, post

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CLIENTS = 4
ORDERS = [
    ("redis", "api", "worker", "worker-2", "observer", "standby"),
    ("worker", "standby", "worker-2", "observer", "redis", "api"),
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_everything_is_restarted_under_load_without_one_failed_job(start: Start, order: tuple[str, ...]) -> None:
    system = bring_up(start, workers=("worker", "worker-2"), observers=("observer", "standby"))
    is_over = threading.Event()
    numbers, codes = count(), {}

    def work() -> None:
        while not is_over.is_set():
            number = next(numbers)
            jid = f"job-{number}"
            codes[jid] = number % 3
            post(system, jid, 0.3, codes[jid])
            is_over.wait(0.3)

    with ThreadPoolExecutor(CLIENTS) as clients:
        try:
            load = [clients.submit(work) for _ in range(CLIENTS)]
            for name in order:
                begun = next(numbers)
                renew(system, name)
                while next(numbers) < begun + 2 * CLIENTS and not is_over.wait(0.1):
                    pass
        finally:
            is_over.set()
        for one in load:
            one.result()
    check_ends(system, codes)


def renew(system: System, name: str) -> None:
    """Stop and start, gently, as a service manager does."""
    if name == "redis":
        system.stop_redis()
        system.start_redis()
    else:
        system.stop(name, timeout_s=120)
        system.restart(name)
