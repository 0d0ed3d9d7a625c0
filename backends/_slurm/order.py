"""From a job to what Slurm is asked for. Pure."""

import math

from backends._hpc.job_folder import SAID
from backends._hpc.launcher import batch_script
from backends._slurm.identity import comment_of
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import SbatchOrder
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

NATIVE_ID = '"$SLURM_JOB_ID"'


def build_order(spec: JobSpec, own: SlurmSettings, common: CommonSettings, launcher: str, folder: str) -> SbatchOrder:
    """Return the order for a job. ``launcher`` and ``folder`` (its control folder) are paths as the nodes see them."""
    request = spec.request
    limits = not common.ignore_limits
    time_limit_s = common.time_limit_s(request.time_limit_minutes)
    return SbatchOrder(
        script=batch_script(launcher, folder, NATIVE_ID),
        name=spec.native_name,
        comment=comment_of(spec),
        work_dir="/",
        output=f"{folder}/{SAID}",
        environment={"PATH": own.hpc_path, "LC_ALL": "C"},
        nodes=request.number_of_workers,
        cpus=math.ceil(request.cpu_millicores / 1000) if limits else None,
        memory_mib=request.memory_mib if limits else None,
        gres=f"{own.slurm_gpu_gres}:{request.gpus}" if request.gpus else "",
        time_limit_minutes=None if time_limit_s is None else math.ceil(time_limit_s / 60),
        partition=own.slurm_partition,
        account=own.slurm_account,
        qos=own.slurm_qos,
        constraint=own.slurm_constraint,
        options=own.option_pairs,
    )
