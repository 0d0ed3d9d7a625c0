"""The backend ``slurm`` once more, on the fake commands of ``tests/fakes/slurm``: in seconds, on any machine."""

from pathlib import Path

from backends._slurm.settings import SlurmSettings
from backends.slurm import SlurmBackend
from cases import Dump
from cases._fake_mounts import FakeMounts
from cases.slurm import SlurmCase
from pman_core.backend import Backend
from pman_core.job import JobSpec
from pman_core.settings import Settings
from tests.fakes.slurm import FakeSlurm


class SlurmFakeCase(FakeMounts, SlurmCase):
    image = "case/image:1"
    marker = ""
    starts_programs = True
    patience_s = 25.0
    prompt_s = 8.0

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self.slurm = FakeSlurm(folder / "slurm")
        (folder / "images/case").mkdir(parents=True)
        (folder / "images/case/image:1.sif").write_bytes(b"an image")

    @classmethod
    def missing(cls) -> str:
        return ""

    def close(self) -> None:
        super().close()
        self.slurm.close()

    def settings(self, common: Settings) -> SlurmSettings:
        return SlurmSettings(
            hpc_path=self.slurm.path,
            hpc_images=self.folder / "images",
            hpc_scratch=self.folder,
            slurm_path=self.slurm.path,
            slurm_conf=self.slurm.conf,
            slurm_poll_s=0.1,
        )

    def unreachable(self) -> Backend:
        own = self.settings(self.common()).model_copy(update={"slurm_conf": self.folder / "nowhere.conf"})
        return SlurmBackend(self.common(), own)

    def read_dump(self, spec: JobSpec) -> Dump:
        seen = super().read_dump(spec)
        return Dump(args=seen.args, env=seen.env, uid=seen.uid, gid=seen.gid)
