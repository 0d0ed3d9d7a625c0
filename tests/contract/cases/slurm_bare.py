"""The backend ``slurm`` with bare commands, HPC_RUNTIME=none, on the fake commands of ``tests/fakes/slurm``."""

from pathlib import Path

from backends._slurm.settings import SlurmSettings
from cases.slurm_fake import SlurmFakeCase
from pman_core.job import JobSpec
from pman_core.settings import Settings


class SlurmBareCase(SlurmFakeCase):
    marker = "exhaustive"

    def settings(self, common: Settings) -> SlurmSettings:
        return super().settings(common).model_copy(update={"hpc_runtime": "none", "hpc_any_image": True})

    def alive(self, spec: JobSpec) -> bool:
        """A process belongs to the job if its last argument is the job's output folder."""
        told = f"\0{self.output(spec).resolve()}\0".encode()
        return any(_command(process).endswith(told) for process in Path("/proc").glob("[0-9]*"))


def _command(process: Path) -> bytes:
    """Return the command line of a process; of a zombie, and of one that has gone, there is none."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
