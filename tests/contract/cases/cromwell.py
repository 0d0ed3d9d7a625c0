"""Cromwell's case: the fake server of ``tests/fakes/cromwell``, whose jobs are sessions of this machine."""

import subprocess
from pathlib import Path

import pytest

from backends.cromwell import CromwellBackend, CromwellSettings
from cases import Dump, Program, until
from cases.process import ProcessCase
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.settings import Settings
from testbed.processes import naming
from tests.fakes.cromwell import FakeCromwell


class CromwellCase(ProcessCase):
    """Without containers: the launcher runs the bare command, and paths in it are rewritten."""

    name = "cromwell"
    prompt_s = 10.0  # an abort waits for a scan, and takes two shells

    starts_programs = True

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self.cromwell = FakeCromwell(folder / "cromwell")
        self.cromwell.start()

    def close(self) -> None:
        self.cromwell.faults.clear()
        super().close()

    def end_writers(self) -> None:
        """A job goes on for a while when it is removed, and so does the server, which may only then begin one."""
        self.cromwell.close()
        if self.cromwell.workflows:
            every = f"{self.folder.name}|{self.cromwell.folder.parent.name}"
            kill = ["pkill", "-KILL", "-f", "-r", "R,S,D,T", "--", every]
            until(lambda: subprocess.run(kill, check=False).returncode == 1, self.patience_s, "its jobs have ended")

    def common(self, **overrides: object) -> Settings:  # type: ignore[override]
        return super().common(**{"cromwell_url": self.cromwell.url} | overrides)

    def build(self, common: Settings) -> CromwellBackend:  # type: ignore[override]
        # What a busy machine does not answer in time, pman would ask again; the tests ask once.
        patient = {"cromwell_timeout_s": self.patience_s}
        own = CromwellSettings(hpc_runtime="none", hpc_any_image=True).model_copy(update=patient)
        return CromwellBackend(common, own)

    def unreachable(self) -> CromwellBackend:  # type: ignore[override]
        return self.build(self.common(cromwell_url="http://127.0.0.1:1"))

    def half_submit(self, spec: JobSpec) -> bool:
        """The control folder is there, and Cromwell has not got the workflow."""
        self.cromwell.faults.drop("POST submit", times=1)
        with pytest.raises(Unavailable):
            self.make().submit(spec)
        return True

    def alive(self, spec: JobSpec) -> bool:
        """The launcher is a process of the job, too; it has the job's control folder as an argument."""
        return bool(naming(spec.generation)) or super().alive(spec)

    def read_dump(self, spec: JobSpec) -> Dump:
        """Nothing limits the CPUs here."""
        seen = super().read_dump(spec)
        return Dump(args=seen.args, env=seen.env, uid=seen.uid, gid=seen.gid)

    def allocate(self, mib: int) -> Program | None:  # type: ignore[override]
        """Memory is not limited here."""
        return None
