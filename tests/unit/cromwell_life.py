"""A life of a fake Cromwell: workflows as the recorder had them, and what is asked about them over time."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from testbed.system import wait_for
from tests.fakes.cromwell import FAST, FakeCromwell, Timing
from tests.unit.cromwell_recordings import read

SOURCE: str = read("30-metadata-succeeded-full").json()["submittedFiles"]["workflow"]
IDS = [f"11111111-2222-5333-8444-{number:012d}" for number in range(30)]
NEVER = 3600.0


def timing(base: Timing = FAST, **changes: float) -> Timing:
    return Timing(**(vars(base) | changes))


def post(cromwell: FakeCromwell, workflow_id: str, *argv: str, **parts: str) -> requests.Response:
    parts = {"workflowSource": SOURCE, "workflowInputs": json.dumps({"step.argv": argv or ["/bin/true"]})} | parts
    files = {name: (None, text) for name, text in (parts | {"requestedWorkflowId": workflow_id}).items()}
    return requests.post(f"{cromwell.url}/api/workflows/v1", files=files, timeout=30)


def get(cromwell: FakeCromwell, workflow_id: str, what: str) -> Any:
    return requests.get(f"{cromwell.url}/api/workflows/v1/{workflow_id}/{what}", timeout=30).json()


def abort(cromwell: FakeCromwell, workflow_id: str) -> str:
    reply = requests.post(f"{cromwell.url}/api/workflows/v1/{workflow_id}/abort", timeout=30)
    return str(reply.json()["status"])


def statuses(cromwell: FakeCromwell, workflow_id: str, last: str) -> list[str]:
    """Ask again and again until it is ``last``; return what was seen, each once. Unknown is ``fail``."""
    seen: list[str] = []

    def ask() -> bool:
        status = get(cromwell, workflow_id, "status")["status"]
        if seen[-1:] != [status]:
            seen.append(status)
        return bool(status == last)

    wait_for(f"{workflow_id} is {last}", ask)
    return seen


def execution(cromwell: FakeCromwell, workflow_id: str) -> Path:
    return cromwell.site.root / "step" / workflow_id / "call-run/execution"


def is_submitted(cromwell: FakeCromwell, workflow_id: str) -> Callable[[], bool]:
    return (execution(cromwell, workflow_id) / "stdout.submit").exists


def call(cromwell: FakeCromwell, workflow_id: str) -> dict[str, Any]:
    calls = get(cromwell, workflow_id, "metadata").get("calls", {}).get("step.run", [{}])
    return calls[0]  # type: ignore[no-any-return]


def submits(cromwell: FakeCromwell, workflow_id: str) -> int:
    """Count the executions of a job that leaves a line for each."""
    runs = execution(cromwell, workflow_id) / "runs"
    return len(runs.read_text().splitlines()) if runs.exists() else 0


def counting(seconds: float) -> tuple[str, ...]:
    return ("/bin/bash", "-c", f"echo ran >> runs; sleep {seconds}")


def waiting_for(gate: Path) -> tuple[str, ...]:
    """As ``counting``; it lasts until there is such a file, however busy the machine is, or for a minute."""
    return ("/bin/bash", "-c", f"echo ran >> runs; for _ in {{1..600}}; do [ -e {gate} ] && break; sleep 0.1; done")


def kill_from_outside(job_id: str) -> None:
    """End a job as somebody does who is not Cromwell."""
    subprocess.run(["pkill", "-KILL", "-s", job_id], check=True)
    wait_for("it is gone", lambda: subprocess.run(["pgrep", "-s", job_id], check=False, capture_output=True).returncode)
