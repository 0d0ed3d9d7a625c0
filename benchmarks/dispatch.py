"""Jobs per second from POST to the terminal record, beside a Celery task that does nothing.

Same Redis, same Celery settings, same worker concurrency, one after the other in one run:
``python -m benchmarks.dispatch``.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.load import post_all
from pman_core.broker import make_celery
from pman_core.queues import Purpose, key_prefix, queue_name
from pman_core.settings import load_settings
from testbed.system import System, wait_for


def echo_per_s(folder: Path, jobs: int, concurrency: int) -> float:
    """Publish ``jobs`` echo tasks; return how many a second were published and executed."""
    system = System(folder, "mock")
    try:
        system.start_redis(aof=False)
        argv = ["-m", "celery", "-A", "benchmarks.echo_app", "worker", "--pool", "threads", "-E", "--loglevel",
                "WARNING", "--concurrency", str(concurrency), "--without-gossip", "--without-mingle"]  # fmt: skip
        system.start("worker", argv)
        settings = load_settings(container_env="mock", redis_url=system.env["REDIS_URL"], storebase=system.store_base)
        app = make_celery(settings)
        redis = system.connect_store()._redis
        queue = queue_name("mock", Purpose.SUBMIT)
        prefix = key_prefix(settings.pman_instance)

        def is_done() -> bool:
            return redis.llen(prefix + queue) == 0 and redis.zcard(prefix + "unacked_index") == 0

        def run(count: int) -> float:
            began_s = time.perf_counter()
            for number in range(count):
                app.send_task("echo", args=(str(number), "x"), queue=queue, retry=False)
            wait_for("all echoes", is_done, 120)
            return time.perf_counter() - began_s

        run(100)
        return jobs / run(jobs)
    finally:
        system.close()


def pman_per_s(folder: Path, jobs: int, concurrency: int, clients: int) -> float:
    """POST ``jobs`` jobs; return how many a second were accepted, dispatched and written down as ended."""
    system = System(folder, "mock")
    try:
        system.start_redis(aof=False)
        system.start_api(processes=1)
        system.start_worker(concurrency=concurrency)
        system.start_observer()
        system.wait_ready()
        store = system.connect_store()

        def run(name: str, count: int) -> float:
            before = store.counts("mock")["terminal"]
            began_s = time.perf_counter()
            post_all(system.api_port, [f"{name}-{number}" for number in range(count)], clients)
            wait_for("all jobs ended", lambda: store.counts("mock")["terminal"] == before + count, 120)
            return time.perf_counter() - began_s

        run("warm", 100)
        return jobs / run("job", jobs)
    finally:
        system.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    table = Table(
        title=f"dispatch: {options.jobs} jobs, one worker of {options.concurrency} threads", title_justify="left"
    )
    for column in ("round", "bare Celery echo, tasks/s", "pman, POST to terminal, jobs/s", "ratio"):
        table.add_column(column, justify="right")
    ratios = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="pman-bench-") as name:
            echo = echo_per_s(Path(name) / "echo", options.jobs, options.concurrency)
            pman = pman_per_s(Path(name) / "pman", options.jobs, options.concurrency, options.clients)
        ratios.append(pman / echo)
        table.add_row(str(number + 1), f"{echo:.0f}", f"{pman:.0f}", f"{pman / echo:.2f}")
    table.add_row("median", "", "", f"{statistics.median(ratios):.2f}", style="bold")
    Console().print(table)


if __name__ == "__main__":
    main()
