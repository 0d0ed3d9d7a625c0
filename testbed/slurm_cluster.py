"""Where the Slurm is that tests may use: one's own, or that of ``testbed/slurm/up.sh``.

Test cases ask here before they say that this machine lacks something.
"""

import os
import shutil
import subprocess
from pathlib import Path

import requests

SCRIPT = "testbed/slurm/up.sh"
RUN = Path("/run/pman-slurm")
"""The pid files of the testbed's daemons."""
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "apptainer")
TOKEN_COMMAND = ("scontrol", "token", "lifespan=3600")
"""Prints a token of whoever runs it."""
TIMEOUT_S = 60


def lack() -> str:
    """Say what is missing to run jobs in containers by Slurm's commands, or ``""``."""
    if lacking := [name for name in COMMANDS if shutil.which(name) is None]:
        return f"not found: {', '.join(lacking)}; {SCRIPT} brings them"
    done = _run("scontrol", "ping")
    return "" if " is UP" in done.stdout else f"no slurmctld answers, {SCRIPT} starts one: {done.stdout}{done.stderr}"


def rest_url() -> str:
    """Return where slurmrestd is: SLURM_REST_URL, or that of the testbed."""
    return os.environ.get("SLURM_REST_URL") or f"http://127.0.0.1:{os.environ.get('SLURM_REST_PORT', '6820')}"


def rest_lack() -> str:
    """Say why slurmrestd cannot be used, or ``""``."""
    made = _run(*TOKEN_COMMAND)
    if made.returncode != 0:
        return f"no token can be made: {made.stderr}"
    headers = {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": made.stdout.strip().removeprefix("SLURM_JWT=")}
    try:
        with requests.get(f"{rest_url()}/openapi/v3", headers=headers, timeout=TIMEOUT_S) as reply:
            return "" if reply.ok else f"slurmrestd at {rest_url()} answers {reply.status_code}"
    except requests.RequestException as error:
        return f"slurmrestd at {rest_url()} does not answer, {SCRIPT} starts one: {error}"


def owns() -> bool:
    """Whether the cluster is the testbed's, so that its daemons may be killed."""
    return (RUN / "slurmctld.pid").exists() and os.geteuid() == 0


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
