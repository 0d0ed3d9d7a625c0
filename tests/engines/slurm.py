"""A real Slurm for tests of the whole system: pman on it, its commands counted, what an administrator does."""

import os
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed import slurm_cluster
from testbed.slurm_cluster import RUN
from testbed.system import System, wait_for
from tests.engines.jobs import IMAGE

COUNTED = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
IMAGES = Path(os.environ.get("SLURM_HOME", "/var/lib/pman-slurm")) / "images"
ROOT = Path(__file__).parents[2]


def need_slurm(request: pytest.FixtureRequest, *, faults: bool = False) -> None:
    """Skip a test, or fail it if Slurm is required, where there is none, or none that may be given faults."""
    if lacking := slurm_cluster.lack():
        required = "slurm" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    if faults and not slurm_cluster.owns():
        pytest.skip("only the testbed's Slurm is given faults, and only by root")


def slurm(*argv: str, check: bool = True) -> str:
    """Run a command of Slurm as an administrator does."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 or not check, f"{shlex.join(argv)}: {done.stderr}"
    return done.stdout


def native_ids(system: System, jid: str = "") -> list[int]:
    """Return the ids of what Slurm itself has of this instance, of one job or of all."""
    ids = []
    for line in slurm("squeue", "--noheader", "--all", "--states=all", "--format=%A|%k").splitlines():
        job_id, _, comment = line.partition("|")
        words = comment.split()
        if len(words) == 5 and words[1] == system.env["PMAN_INSTANCE"] and jid in ("", words[4]):
            ids.append(int(job_id))
    return ids


def native_state(job_id: int) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T").strip()


class Calls:
    """What pman asks of Slurm: it finds programs that write down each call, and then are the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log"
        folder.mkdir()
        for name in COUNTED:
            program = folder / name
            program.write_text(
                f'#!/bin/bash\nprintf \'%s %s\\n\' "$EPOCHREALTIME" "{name} $1" >> {shlex.quote(str(self._log))}\n'
                f'exec /usr/bin/{name} "$@"\n'
            )
            program.chmod(0o755)

    def since(self, at_s: float) -> list[tuple[float, str]]:
        """Return when each was, in seconds of the epoch, and the command with its first option."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        calls = ((float(when), what) for when, _, what in (line.partition(" ") for line in lines))
        return [(when, what) for when, what in calls if when >= at_s]


def count(calls: list[tuple[float, str]]) -> Counter[str]:
    return Counter(what.split()[0] for _, what in calls)


def start_slurm_system(folder: Path, name: str, **env: str) -> System:
    """Bring up all of pman as the instance ``name``, on images that the testbed has made."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    archive = images / f"{IMAGE}.tar"
    if not archive.exists():
        archive.hardlink_to(IMAGES / "busybox.tar") if _same_disk(images) else archive.write_bytes(_archive())
    settings = {
        "PMAN_INSTANCE": name,
        "HPC_IMAGES": str(images),
        "HPC_IMAGE_CACHE": str(folder / "cache"),
        "SLURM_POLL_S": "0.5",
        "LIVE_LOGS_S": "0",
    }
    system = System(folder / name, "slurm", env=settings | env)
    try:
        system.start_redis()
        system.start_api()
        system.start_worker()
        system.start_observer()
        system.wait_ready()
    except BaseException:
        system.close()
        raise
    return system


def end_slurm_system(system: System) -> None:
    system.close()
    if left := native_ids(system):
        slurm("scancel", *map(str, left), check=False)


def wait_nothing_left(system: System, timeout_s: float = 60) -> None:
    """Wait until neither Slurm runs anything of any job nor pman owes anything to one."""

    def active() -> list[str]:
        return [
            state for state in map(native_state, native_ids(system)) if state in {"RUNNING", "PENDING", "COMPLETING"}
        ]

    wait_for("nothing runs any more", lambda: not active(), timeout_s)
    wait_for("all obligations are settled", lambda: not system.connect_store().obligations("slurm", 1), timeout_s)


# -- faults


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
    wait_for(f"{daemon} is gone", lambda: not Path(f"/proc/{pid}").exists())


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


def _same_disk(folder: Path) -> bool:
    return folder.stat().st_dev == IMAGES.stat().st_dev


def _archive() -> bytes:
    return (IMAGES / "busybox.tar").read_bytes()
