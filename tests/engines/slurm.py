"""A real Slurm as its administrator sees it: whether it is there, its commands, its jobs of one pman."""

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from testbed import slurm_cluster
from testbed.system import System
from tests.engines.jobs import IMAGE, PATIENCE_S

IMAGES = Path(os.environ.get("SLURM_HOME", "/var/lib/pman-slurm")) / "images"


def need_slurm(request: pytest.FixtureRequest, *, faults: bool = False) -> None:
    """Skip a test, or fail it if Slurm is required, where there is none, or none that may be given faults."""
    if lacking := slurm_cluster.lack():
        required = "slurm" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    if faults and not slurm_cluster.owns():
        pytest.skip("only the testbed's Slurm is given faults, and only by root")


ASKS = {"sinfo", "squeue"}
BUSY = "Socket timed out on send/recv operation"


def slurm(*argv: str, check: bool = True) -> str:
    """Run a command of Slurm as an administrator does, who asks once more where slurmctld has not answered in time."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        if argv[0] not in ASKS or BUSY not in done.stderr or time.monotonic() > end_s:
            break
    assert done.returncode == 0 or not check, f"{shlex.join(argv)}: {done.stderr}"
    return done.stdout


def native_states(system: System, jid: str = "") -> dict[int, str]:
    """Return what Slurm itself has of this instance, of one job or of all: the state of each by its id."""
    states = {}
    for line in slurm("squeue", "--noheader", "--all", "--states=all", "--format=%A|%T|%k").splitlines():
        job_id, state, comment = line.split("|", 2)
        words = comment.split()
        if len(words) == 5 and words[1] == system.env["PMAN_INSTANCE"] and jid in ("", words[4]):
            states[int(job_id)] = state
    return states


def native_ids(system: System, jid: str = "") -> list[int]:
    return list(native_states(system, jid))


def native_state(job_id: int) -> str:
    return slurm("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T").strip()


def last_node() -> str:
    return sorted(slurm("sinfo", "-h", "-N", "-o", "%N").split())[-1]


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder for one pman, that the nodes and every user see."""
    with TemporaryDirectory(prefix="pman-slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def instance_of(folder: Path, prefix: str = "t") -> str:
    """Return a PMAN_INSTANCE that nobody else on the cluster has."""
    return f"{prefix}{folder.name[-6:].lower().replace('_', 'x')}"


def put_archive(folder: Path) -> Path:
    """Make a site's folder of images, with the test image as an archive that the testbed has made; return it."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    archive = images / f"{IMAGE}.tar"
    if not archive.exists():
        archive.write_bytes((IMAGES / "busybox.tar").read_bytes())
    return images
