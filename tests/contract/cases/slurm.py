"""Slurm's case: a real cluster whose nodes share this machine's file system, with Apptainer and the test image."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from backends._slurm.settings import SlurmSettings
from backends.slurm import SlurmBackend
from cases import Dump
from cases._containers import OWN_ARGUMENTS, ContainerCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings

MAKE_IMAGE = Path(__file__).parents[3] / "testbed" / "make_image.py"
WANTED = ("sbatch", "squeue", "scancel", "scontrol", "apptainer")


class SlurmCase(ContainerCase):
    name = "slurm"
    marker = "slurm"
    patience_s = 150.0  # Slurm looks at time limits twice a minute, and they are whole minutes
    prompt_s = 25.0  # slurmd gives a job five seconds or KillWait after its SIGTERM, and then there is an epilogue

    @classmethod
    def missing(cls) -> str:
        if lacking := [name for name in WANTED if shutil.which(name) is None]:
            return f"not found: {', '.join(lacking)}"
        return _answer()

    def build(self, common: Settings) -> Backend:
        # What a busy machine does not answer in time, pman would ask again; the tests ask once.
        patient = {"slurm_timeout_s": self.patience_s}
        return SlurmBackend(common, self.settings(common).model_copy(update=patient))

    def settings(self, common: Settings) -> SlurmSettings:
        images = _images()
        return SlurmSettings(
            hpc_images=images,
            hpc_image_cache=images / "cache",
            slurm_poll_s=0.2,
            # The testbed gives 256 MiB to who asks for none.
            slurm_options=("--mem-per-cpu=1024",) if common.ignore_limits else (),
        )

    def unreachable(self) -> Backend:
        own = self.settings(self.common()).model_copy(
            update={"slurm_conf": Path("/nonexistent"), "slurm_timeout_s": 0.5}
        )
        return SlurmBackend(self.common(), own)

    def half_submit(self, spec: JobSpec) -> bool:
        backend = self.make()
        assert isinstance(backend, SlurmBackend)
        backend._submitter.prepare(spec)
        return True

    def read_dump(self, spec: JobSpec) -> Dump:
        output = self.output(spec)
        argv, env = ((output / name).read_bytes().decode().split("\0")[:-1] for name in ("argv", "env"))
        uid, gid = map(int, (output / "ids").read_text().split())
        return Dump(
            args=tuple(argv[OWN_ARGUMENTS:-1]),
            env=dict(entry.split("=", 1) for entry in env),
            uid=uid,
            gid=gid,
            cpus=_count((output / "cores").read_text()),
        )


def _count(cores: str) -> float:
    """Return how many cores ``Cpus_allowed_list:\t0-1,3`` are."""
    spans = re.findall(r"(\d+)(?:-(\d+))?", cores)
    return float(sum(int(last or first) - int(first) + 1 for first, last in spans))


@cache
def _answer() -> str:
    done = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False)
    return "" if " is UP" in done.stdout else f"no slurmctld answers: {done.stdout}{done.stderr}"


@cache
def _images() -> Path:
    """Return a folder of images as a site has one, with the test image as an archive, for this user."""
    folder = Path(gettempdir()) / f"pman-contract-images-{os.geteuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    archive = folder / "busybox:test.tar"
    if not archive.exists():
        fresh = folder / f"fresh.{os.getpid()}"
        argv = [sys.executable, str(MAKE_IMAGE), "--busybox", "--tag", "busybox:test", "--out", str(fresh)]
        subprocess.run(argv, check=True)
        fresh.rename(archive)
    return folder
