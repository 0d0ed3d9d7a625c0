"""Faults for the testbed's Slurm: its daemons killed and stopped, its jobs' processes killed, all brought up again."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.slurm_cluster import RUN
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.slurm import slurm

ROOT = Path(__file__).parents[2]


@contextmanager
def repaired() -> Iterator[None]:
    """Bring up in the end what has ended meanwhile."""
    try:
        yield
    finally:
        bring_up()


def bring_up() -> None:
    """Start what has ended, with its state, and resume what was drained."""
    subprocess.run([ROOT / "testbed/slurm/up.sh"], env=os.environ | _settings(), check=True, capture_output=True)


def _settings() -> dict[str, str]:
    """Return the settings of the cluster that runs: with others it would be made anew."""
    text = Path("/etc/slurm/slurm.conf").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and " " not in line)
    return {
        "SLURM_DBD": "1" if values["AccountingStorageType"].endswith("slurmdbd") else "0",
        "SLURM_MIN_JOB_AGE": values["MinJobAge"],
        "SLURM_NODES": str(text.count("\nNodeName=")),
        "SLURM_GPUS": text.partition("Gres=gpu:")[2].partition(" ")[0] or "0",
    }


def pid_of(daemon: str) -> int:
    return int((RUN / f"{daemon}.pid").read_text())


def kill(daemon: str) -> None:
    """``kill -9``."""
    pid = pid_of(daemon)
    os.kill(pid, signal.SIGKILL)
    wait_for(f"{daemon} is gone", lambda: not Path(f"/proc/{pid}").exists(), PATIENCE_S)


@contextmanager
def stopped(daemon: str, for_s: float) -> Iterator[None]:
    """SIGSTOP for so long at least."""
    pid, began_s = pid_of(daemon), time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(max(0.0, began_s + for_s - time.monotonic()))
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until_saved(job_id: int) -> None:
    """Wait until slurmctld has written down that a job runs; it saves what has changed within five seconds.

    One that is killed before that starts such a job anew when it is back: the node refuses that, and is drained.
    """
    saved = Path(os.environ.get("SLURM_HOME", "/var/lib/pman-slurm")) / "slurmctld" / "job_state"
    change = f"change {time.time_ns()}"  # a file that is only younger may have been under way before
    slurm("scontrol", "update", f"JobId={job_id}", f"AdminComment={change}")

    def is_saved() -> bool:
        with suppress(FileNotFoundError):  # for a moment, while it is replaced
            return change.encode() in saved.read_bytes()
        return False

    wait_for("slurmctld has saved its state", is_saved, PATIENCE_S)


def kill_processes(pattern: str, name: str) -> None:
    """``kill -9`` the processes of this name with such a command line."""
    found = [int(pid) for pid in slurm("pgrep", "-f", pattern).split() if _comm(pid).startswith(name)]
    assert found, pattern
    for pid in found:
        with suppress(ProcessLookupError):  # a shell's own copy of itself, which has become another program and ended
            os.kill(pid, signal.SIGKILL)


def _comm(pid: str) -> str:
    """Return the name of a process; of one that has gone meanwhile there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
