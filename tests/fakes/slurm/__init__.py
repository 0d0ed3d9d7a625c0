"""A Slurm of one machine for tests: its commands as real programs, and an Apptainer that mounts nothing.

They print what the real ones were recorded to print (``tests/recorded/slurm``) and run jobs as processes of this
machine. All they know is in the folder of the ``slurm.conf`` that they are told. So what runs the commands and reads
them is tested as it is, on any machine and in seconds; memory, cores and mounts are not limited.
"""

import fcntl
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

COMMANDS = ("sacct", "sbatch", "scancel", "scontrol", "squeue", "srun")


def install(folder: Path) -> str:
    """Put the programs into ``folder``; return what PATH must be to find them, for pman and on the nodes.

    They name this very Python: what is called ``python3`` on a developer's machine may take ten times as long to start.
    """
    folder.mkdir()
    here = Path(__file__).parent
    for name in (*COMMANDS, "apptainer"):
        program = f"{here}/apptainer.py" if name == "apptainer" else f"{here}/commands.py {name}"
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S -E -s {program} "$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/local/bin:/usr/bin:/bin"


class FakeSlurm:
    """One cluster, whose state is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.conf = folder / "slurm.conf"
        self.conf.write_text("ClusterName=fake\n")
        self.path = install(folder / "bin")

    def close(self) -> None:
        """End everything; without its configuration no command answers."""
        if not self.folder.exists():
            return
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # no job begins meanwhile, and later none finds what it should be
            for path in self.folder.glob("jobs/*/pid"):
                with suppress(ProcessLookupError):
                    os.killpg(int(path.read_text()), signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)
