"""Slurm's case once more, by its REST service: a pman that is on no login node."""

from functools import cache

from backends._slurm.settings import SlurmSettings
from backends.slurm import SlurmBackend
from cases.slurm import SlurmCase
from pman_core.backend import Backend
from pman_core.settings import Settings
from testbed.slurm_cluster import TOKEN_COMMAND, rest_lack, rest_url


class SlurmRestCase(SlurmCase):
    @classmethod
    def missing(cls) -> str:
        return super().missing() or _lack()

    def settings(self, common: Settings) -> SlurmSettings:
        changes = {
            "slurm_path": "/nonexistent",
            "slurm_rest_url": rest_url(),
            "slurm_rest_token_command": TOKEN_COMMAND,
        }
        return super().settings(common).model_copy(update=changes)

    def unreachable(self) -> Backend:
        own = self.settings(self.common()).model_copy(update={"slurm_rest_url": "http://127.0.0.1:1"})
        return SlurmBackend(self.common(), own)


@cache
def _lack() -> str:
    return rest_lack()
