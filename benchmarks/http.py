"""POST and GET, serial and with 16 clients, beside a bare Flask app with one Redis command; load from wrk.

Two API processes, one Redis, everything on this machine: ``python -m benchmarks.http``. wrk is Debian's package wrk.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.load import BODY
from pman_core.backend import Capabilities
from pman_core.request import parse_request
from pman_core.store.protocol import BackendReport
from pman_core.store.redis import RedisStore
from testbed.system import System, free_port, wait_for

SCRIPT = Path(__file__).parent / "load.lua"
FEW, MANY = 100, 100_000
Figures = dict[str, float]


def load(port: int, kind: str, path: str, clients: int, *, jids: int = FEW, seconds: int = 5) -> Figures:
    """Run wrk; raise if any reply was an error."""
    argv = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}",
            "--", kind, path, str(jids), json.dumps(BODY | {"jid": "JID"})]  # fmt: skip
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    figures: Figures = json.loads(run.stdout.splitlines()[-1])
    if figures["errors"]:
        raise RuntimeError(f"{kind} {path}: {figures['errors']:.0f} errors")
    return figures


def fill(store: RedisStore, first: int, last: int) -> None:
    for number in track(range(first, last), description=f"writing {last - first} records", transient=True):
        store.create(parse_request(BODY | {"jid": f"job-{number}"}), "mock")


def bytes_per_record(store: RedisStore) -> float:
    """All memory that ``MANY`` more records take, indexes included, by record."""
    before = store._redis.info("memory")["used_memory"]  # type: ignore[index]
    fill(store, FEW, MANY)
    return (store._redis.info("memory")["used_memory"] - before) / (MANY - FEW)  # type: ignore[index, no-any-return]


def measure(folder: Path, table: Table) -> None:
    system = System(folder, "mock")
    try:
        system.start_redis(aof=False)
        system.start_api(processes=2)
        bare_port = free_port()
        bare = ["-m", "gunicorn", "--bind", f"127.0.0.1:{bare_port}", "--workers", "2", "--worker-class", "gthread",
                "--threads", "16", "benchmarks.bare_app:app"]  # fmt: skip
        system.start("bare", bare)
        store = system.connect_store()
        wait_for("both apps", lambda: _answers(system.api_port, "/health/") and _answers(bare_port, "/bare/x/"))
        store.publish(BackendReport("mock", Capabilities().to_dict()))
        fill(store, 0, FEW)
        for number in range(FEW):
            store._redis.hset(f"bare:job-{number}", mapping={"state": "QUEUED", "request": json.dumps(BODY)})

        def pman(kind: str, clients: int, *, jids: int = FEW, seconds: int = 5) -> Figures:
            return load(system.api_port, kind, "/api/v1/", clients, jids=jids, seconds=seconds)

        def yardstick(kind: str, clients: int, *, seconds: int = 5) -> Figures:
            return load(bare_port, kind, "/bare/", clients, seconds=seconds)

        pman("get", 16, seconds=2), yardstick("get", 16, seconds=2)
        _row(table, "POST, serial", pman("post", 1), yardstick("post", 1))
        _row(table, "POST, 16 clients", pman("post", 16), yardstick("post", 16))
        _row(table, "GET, 16 clients", pman("get", 16), yardstick("get", 16))
        size = bytes_per_record(store)
        # In turn, so that a machine that slows down slows both.
        pairs = [(pman("get", 16, jids=MANY), pman("get", 16)) for _ in range(3)]
        _row(table, f"GET, {MANY:,} records", *sorted(pairs, key=lambda pair: pair[0]["per_s"] / pair[1]["per_s"])[1])
        table.caption = (
            f"Last row: against {FEW} of them, median of 3. A record takes {size:.0f} bytes of Redis, indexes included."
        )
    finally:
        system.close()


def _answers(port: int, path: str) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=1).ok
    except requests.ConnectionError:
        return False


def _row(table: Table, name: str, pman: Figures, yardstick: Figures) -> None:
    rates = (f"{pman['per_s']:.0f}", f"{yardstick['per_s']:.0f}", f"{pman['per_s'] / yardstick['per_s']:.2f}")
    table.add_row(name, f"{pman['p50_ms']:.2f}", f"{pman['p95_ms']:.2f}", *rates)


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    table = Table(title="HTTP: two API processes", title_justify="left", caption_justify="left")
    for column in ("", "p50 ms", "p95 ms", "pman /s", "bare Flask + Redis /s", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    with tempfile.TemporaryDirectory(prefix="pman-bench-") as name:
        measure(Path(name) / "pman", table)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
