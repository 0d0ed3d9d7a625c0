"""pman's API and the bare app beside it, under the same gunicorn, and wrk's load on either.

Both have the processes, threads and every other setting of ``pman_api/gunicorn.conf.py``; the bare app has gunicorn's
own threaded worker, of which pman's is a subclass. No worker and no observer runs: they would take what is measured.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import requests
from redis import Redis

import pman_api
from benchmarks.load import BODY
from pman_core.backend import Capabilities
from pman_core.store.protocol import BackendReport
from pman_core.store.redis import RedisStore
from testbed.ports import free_port
from testbed.system import System, wait_for

SCRIPT = Path(__file__).parent / "load.lua"
PROCESSES = 2
CLIENTS = 16
Load = dict[str, float]
"""``per_s``, ``p50_ms``, ``p95_ms``."""


def wrk(port: int, kind: str, path: str, *, clients: int, jids: int, seconds: float) -> Load:
    """Run wrk for ``seconds``; ``kind`` is a function of ``load.lua``. Raises if any reply was an error."""
    argv = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}",
            "--", kind, path, str(jids), json.dumps(BODY | {"jid": "JID"})]  # fmt: skip
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    load: Load = json.loads(run.stdout.splitlines()[-1])
    if load["errors"]:
        raise RuntimeError(f"{kind} {path}: {load['errors']:.0f} errors")
    return load


def start_api(system: System, store: RedisStore) -> None:
    """Start the API and wait for it; a worker's report is there, as it is in production."""
    store.publish(BackendReport("mock", Capabilities().to_dict()))
    system.start_api(PROCESSES)
    wait_for("the API", lambda: answers(system.api_port, "/health/"))


def start_bare(system: System) -> int:
    """Start the bare app on the Redis of ``system`` and return its port."""
    port = free_port()
    config = Path(pman_api.__file__).parent / "gunicorn.conf.py"
    argv = ["-m", "gunicorn", "-c", str(config), "--bind", f"127.0.0.1:{port}", "--workers", str(PROCESSES),
            "--worker-class", "gthread", "benchmarks.bare_app:app"]  # fmt: skip
    system.start("bare", argv)
    wait_for("the bare app", lambda: answers(port, "/bare/x/"))
    return port


def copy_to_bare(system: System, jids: Sequence[str]) -> None:
    """Give the bare app, ready to be sent, what pman replies for ``jids``: the same reply from one HGETALL."""
    redis = Redis.from_url(system.env["REDIS_URL"])
    with requests.Session() as session:
        for jid in jids:
            reply = session.get(f"{system.url}/api/v1/{jid}/", timeout=5).json()
            texts = {name: "" if value is None else str(value) for name, value in reply.items()}
            redis.hset(f"bare:{jid}", mapping=texts)
    redis.close()


def answers(port: int, path: str) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=1).ok
    except requests.RequestException:
        return False
