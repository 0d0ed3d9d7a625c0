"""Jobs that leave a trace of every execution in their output folder, and what a client does with them."""

import sys
from pathlib import Path
from typing import Any

import requests

from testbed.system import System, wait_for

SCRIPT = """
import os, sys, time
seconds, code, outgoing = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("working", flush=True)
with open(os.path.join(outgoing, "runs"), "a") as runs:
    runs.write("%d\\n" % os.getpid())
until_s = time.monotonic() + seconds
while (left_s := until_s - time.monotonic()) > 0 and not os.path.exists(os.path.join(outgoing, "go")):
    time.sleep(min(left_s, 0.02))
with open(os.path.join(outgoing, "ends"), "a") as ends:
    ends.write("%d\\n" % os.getpid())
sys.exit(code)
"""

LASTING_S = 600.0
"""Longer than any test: such a job ends by :func:`let_end`, or because somebody ends it."""

FINISHED = {"finishedSuccessfully", "finishedWithError", "undefined"}


def body(jid: str, seconds: float = 0.1, code: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the request of a job that runs for ``seconds``, or until :func:`let_end`, and exits with ``code``."""
    return {
        "jid": jid,
        "args": [str(seconds), str(code)],
        "args_path_flags": [],
        "auid": "cube",
        "number_of_workers": "1",
        "cpu_limit": "1000",
        "memory_limit": "1000",
        "gpu_limit": "0",
        "image": "fnndsc/pl-trace",
        "entrypoint": [sys.executable, "-c", SCRIPT],
        "type": "fs",
        "env": [],
        "input_dir": f"{jid}/incoming",
        "output_dir": f"{jid}/outgoing",
    } | fields


def prepare(system: System, jid: str) -> None:
    """Make the folders, as pfcon does before it calls."""
    for name in ("incoming", "outgoing"):
        (system.store_base / jid / name).mkdir(parents=True, exist_ok=True)


def post(system: System, jid: str, *args: Any, **fields: Any) -> dict[str, Any]:
    prepare(system, jid)
    reply = requests.post(f"{system.url}/api/v1/", json=body(jid, *args, **fields), timeout=30)
    assert reply.status_code == 201, reply.text
    record: dict[str, Any] = reply.json()
    return record


def get(system: System, jid: str) -> dict[str, Any]:
    reply = requests.get(f"{system.url}/api/v1/{jid}/", timeout=30)
    assert reply.status_code == 200, reply.text
    record: dict[str, Any] = reply.json()
    return record


def wait_status(system: System, jid: str, *statuses: str, timeout_s: float = 90) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        record = get(system, jid)
        return record if record["status"] in statuses else None

    return wait_for(f"{jid} is {' or '.join(statuses)}", ask, timeout_s)


def wait_end(system: System, jid: str, timeout_s: float = 90) -> dict[str, Any]:
    return wait_status(system, jid, *FINISHED, timeout_s=timeout_s)


def traces(system: System, jid: str, name: str = "runs") -> int:
    """Count the executions that have begun (``runs``) or come to their own end (``ends``)."""
    path: Path = system.store_base / jid / "outgoing" / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def has_begun(system: System, jid: str) -> bool:
    """Whether it has; its first word is in its log by then."""
    return traces(system, jid) > 0


def let_end(system: System, jid: str) -> None:
    """Let a job come to its own end now."""
    (system.store_base / jid / "outgoing" / "go").touch()
