"""A Slurm of one machine for tests: its commands as real programs, and an Apptainer that mounts nothing.

``bin/`` holds programs that print what the real ones were recorded to print (``tests/recorded/slurm``) and run jobs
as processes of this machine. All they know is in the folder of the ``slurm.conf`` that they are told. So what runs the
commands and reads them is tested as it is, on any machine and in seconds; memory, cores and mounts are not limited.
"""

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

BIN = Path(__file__).with_name("bin")


class FakeSlurm:
    """One cluster, whose state is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.conf = folder / "slurm.conf"
        self.conf.write_text("ClusterName=fake\n")

    @property
    def path(self) -> str:
        """What PATH must be to find the commands, for pman and on the nodes."""
        return f"{BIN}:/usr/local/bin:/usr/bin:/bin"

    def close(self) -> None:
        """End everything; without its configuration no command answers."""
        for path in self.folder.glob("jobs/*/pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(path.read_text()), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
