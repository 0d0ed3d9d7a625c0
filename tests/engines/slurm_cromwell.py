"""A fake Cromwell with the configuration for Slurm (``deploy/cromwell/slurm.conf``) on a real Slurm."""

import json
import uuid
from pathlib import Path
from typing import Any

import requests

from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S, REPLY_S
from tests.engines.slurm import slurm
from tests.fakes.cromwell import FakeCromwell, Site, read_site
from tests.unit.cromwell_recordings import read

CONF = Path(__file__).parents[2] / "deploy/cromwell/slurm.conf"


def site_in(folder: Path, **changes: Any) -> Site:
    return read_site(CONF).but(root=folder / "executions", **changes)


def submit(cromwell: FakeCromwell, *argv: str, runtime: str = "") -> str:
    """Submit the recorder's workflow; return its id."""
    source: str = read("30-metadata-succeeded-full").json()["submittedFiles"]["workflow"]
    if runtime:
        source = source.replace("  output {\n    File out", f"  runtime {{ {runtime} }}\n  output {{\n    File out", 1)
    workflow_id = str(uuid.uuid4())
    files = {"workflowSource": source, "workflowInputs": json.dumps({"step.argv": argv})}
    files["requestedWorkflowId"] = workflow_id
    reply = requests.post(
        f"{cromwell.url}/api/workflows/v1", files={name: (None, text) for name, text in files.items()}, timeout=REPLY_S
    )
    assert reply.status_code == 201, reply.text
    return workflow_id


def told(cromwell: FakeCromwell, workflow_id: str) -> dict[str, Any]:
    reply = requests.get(f"{cromwell.url}/api/workflows/v1/{workflow_id}/metadata", timeout=REPLY_S)
    return reply.json() if reply.ok else {}  # type: ignore[no-any-return]


def call(cromwell: FakeCromwell, workflow_id: str) -> dict[str, Any]:
    calls = told(cromwell, workflow_id).get("calls", {}).get("step.run", [{}])
    return calls[0]  # type: ignore[no-any-return]


def wait_status(cromwell: FakeCromwell, workflow_id: str, status: str) -> dict[str, Any]:
    wait_for(f"it is {status}", lambda: told(cromwell, workflow_id).get("status") == status, PATIENCE_S)
    return told(cromwell, workflow_id)


def wait_state(job_id: str, *states: str) -> str:
    return wait_for(
        f"Slurm's job {job_id} is {states}", lambda: (state := state_of(job_id)) in states and state, PATIENCE_S
    )


def state_of(job_id: str) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T", check=False).strip()
