"""The body of ``POST /containers/create`` for a job. Pure; ``tests/golden/engine/`` holds whole bodies.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
"""

from typing import Any, Literal

from backends._engine.labels import build_labels
from backends._engine.mounts import Mount
from backends._engine.settings import ContainerSettings
from backends._sizes import check_sizes
from backends._users import HOME_WORKAROUND, choose_user
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

Gpus = Literal["none", "requests", "cdi"]
"""How GPUs are asked for: by Docker's DeviceRequests, or by names of the Container Device Interface."""


def build_container(
    spec: JobSpec, common: CommonSettings, own: ContainerSettings, mounts: list[Mount], gpus: Gpus
) -> dict[str, Any]:
    """Return the whole configuration of the job's container.

    Raises:
        Rejected: an argument or a variable is too long for any exec.
    """
    request = spec.request
    env = build_env(spec, common)
    check_sizes(spec.argv, env)
    user = choose_user(common.container_user, spec.generation)
    host: dict[str, Any] = {
        "Mounts": mounts,
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges:true"],
    }
    if not common.ignore_limits:
        memory_bytes = request.memory_mib * 2**20
        host["NanoCpus"] = request.cpu_millicores * 1_000_000
        # Memory and swap together, or the job would have as much swap again.
        limit = {"Memory": memory_bytes, "MemorySwap": memory_bytes}
        host |= {"MemoryReservation": memory_bytes} if own.memory_limit_soft else limit
    if own.pids_limit is not None:
        host["PidsLimit"] = own.pids_limit
    if own.drop_capabilities:
        host["CapDrop"] = ["ALL"]
    if common.shm_size is not None:
        host["ShmSize"] = common.shm_size * 2**20
    if request.gpus:
        host |= _gpus(request.gpus, gpus, own.gpu_cdi_kind)
    return {
        "Image": request.image,
        "Entrypoint": list(spec.argv),  # with one of its own, the image's Cmd is not used either
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": f"{user[0]}:{user[1]}" if user else "",
        "Labels": build_labels(spec, common),
        "HostConfig": host,
    }


def build_env(spec: JobSpec, common: CommonSettings) -> dict[str, str]:
    """Return the environment that is added to the image's own."""
    home = {"HOME": HOME_WORKAROUND} if common.enable_home_workaround else {}
    return home | spec.env


def _gpus(count: int, gpus: Gpus, cdi_kind: str) -> dict[str, Any]:
    if gpus == "cdi":
        # Podman ignores DeviceRequests, but takes the names of CDI where others have the path of a device.
        names = [f"{cdi_kind}={number}" for number in range(count)]
        return {"Devices": [{"PathOnHost": name} for name in names]}
    return {"DeviceRequests": [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}]}
