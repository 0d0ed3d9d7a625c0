"""The settings of the Slurm backend: what is asked for every job, and how Slurm is reached."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from backends._hpc.settings import HpcSettings, Words
from backends._slurm.rest_settings import RestSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._@+-]*$")]

ALLOWED_OPTIONS = frozenset(
    {
        "acctg-freq",
        "cluster-constraint",
        "core-spec",
        "cores-per-socket",
        "cpu-freq",
        "deadline",
        "delay-boot",
        "distribution",
        "exclude",
        "exclusive",
        "extra-node-info",
        "gres-flags",
        "hint",
        "licenses",
        "mail-type",
        "mail-user",
        "mcs-label",
        "mem-bind",
        "mem-per-cpu",
        "network",
        "nice",
        "nodelist",
        "overcommit",
        "oversubscribe",
        "power",
        "prefer",
        "priority",
        "profile",
        "reservation",
        "sockets-per-node",
        "spread-job",
        "switches",
        "thread-spec",
        "threads-per-core",
        "tmp",
        "use-min-nodes",
        "wckey",
    }
)
"""The options of sbatch that SLURM_OPTIONS may have: those that say where and with what rank a job runs. What a job is,
where it writes, whose it is and whether it is repeated is pman's. https://slurm.schedmd.com/sbatch.html"""


def _options(value: tuple[str, ...]) -> tuple[str, ...]:
    for word in value:
        name = word.removeprefix("--").partition("=")[0]
        if not word.startswith("--") or name not in ALLOWED_OPTIONS:
            raise ValueError(f"{word!r} is not one of --{', --'.join(sorted(ALLOWED_OPTIONS))}")
    return value


class SlurmSettings(RestSettings, HpcSettings):
    """Settings of ``slurm``."""

    slurm_partition: Annotated[str, Field(pattern=r"^[A-Za-z0-9._,@+-]*$")] = ""
    slurm_account: Name = ""
    slurm_qos: Name = ""
    slurm_constraint: Annotated[str, Field(pattern=r"^[A-Za-z0-9._&|*,()\[\]@+-]*$")] = ""
    slurm_gpu_gres: Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)?)?$")] = ""
    slurm_workers_max: Annotated[int, Field(ge=1)] = 100
    slurm_options: Annotated[Words, AfterValidator(_options)] = ()
    slurm_path: str = "/usr/local/bin:/usr/bin:/bin"
    slurm_conf: Path | None = None
    slurm_timeout_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    slurm_poll_s: Annotated[float, Field(gt=0)] = 2.0

    @property
    def option_pairs(self) -> tuple[tuple[str, str], ...]:
        """SLURM_OPTIONS as names and values; a flag has the value ``""``."""
        parts = (word.removeprefix("--").partition("=") for word in self.slurm_options)
        return tuple((name, value) for name, _, value in parts)
