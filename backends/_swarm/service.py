"""The bodies of ``POST /services/create`` and ``/update`` for a job. Pure; ``tests/golden/engine/`` holds whole bodies.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service/operation/ServiceCreate

Why the argv cannot run twice, whatever Swarm does:

* ``RestartPolicy`` none: a task that ended, or was shut down with its node, is never replaced.
* ``MaxAttempts`` restarts nothing then, but Swarm keeps that many ended tasks for each replica, even if the
  administrator has set the limit of its task history to 0. A task that it forgot would be a replica that is missing.
* A task is only ever added by a change of the service, and the only change that pman makes, see :func:`ended`, has it
  wait for a node that cannot be. (To add a label alone would do no harm as long as what an engine shows of a service
  is all that it knows of it; where it is not, the same argv would run anew.)
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from backends._engine.container import build_env
from backends._engine.labels import SPEC, build_labels
from backends._engine.mounts import Mount
from backends._users import choose_user
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

Body = dict[str, Any]
Service = Mapping[str, Any]

NOWHERE = "node.id==ended-by-pman"
"""The constraint of an ended job. The id of a node has 25 letters and digits, and no hyphen."""
BODY_BYTES_MAX = 640 * 1024
"""A swarm takes 1.5 MiB at once, and with each change of a service it stores what it was before as well."""
TASKS_KEPT = 4
NO_NEW_PRIVILEGES_SINCE = (1, 44)
"""The version of the API with ContainerSpec.Privileges.NoNewPrivileges; an older engine takes no notice of it."""


def build_service(
    spec: JobSpec,
    common: CommonSettings,
    mounts: Sequence[Mount],
    constraints: Sequence[str],
    *,
    resources: Body,
    drop_capabilities: bool,
    api_version: str,
) -> Body:
    """Return the whole specification of the job's service.

    Raises:
        Rejected: no swarm takes so large a job, or could end it.
    """
    labels = build_labels(spec, common)
    user = choose_user(common.container_user, spec.generation)
    container: Body = {
        "Image": spec.request.image,
        "Command": list(spec.argv),  # replaces the ENTRYPOINT, and the image's CMD with it
        "Args": [],
        "Env": [f"{name}={verbatim(value)}" for name, value in build_env(spec, common).items()],
        "User": f"{user[0]}:{user[1]}" if user else "",
        # Without the spec, which the service has: it can be long, and every task carries a copy.
        "Labels": {name: value for name, value in labels.items() if name != SPEC},
        "Mounts": [*map(_verbatim_mount, mounts), *_shm(common)],
        # A container that its image calls unhealthy would be killed, and one not yet healthy does not count as running.
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",
        "StopGracePeriod": 1_000_000_000,
    }
    if drop_capabilities:
        container["CapabilityDrop"] = ["ALL"]
    if _version(api_version) >= NO_NEW_PRIVILEGES_SINCE:
        container["Privileges"] = {"NoNewPrivileges": True}
    body = {
        "Name": spec.native_name,
        "Labels": labels,
        "Mode": {"Replicated": {"Replicas": spec.request.number_of_workers}},
        "TaskTemplate": {
            "ContainerSpec": container,
            "Resources": resources,
            "RestartPolicy": {"Condition": "none", "MaxAttempts": TASKS_KEPT},
            "Placement": {"Constraints": list(constraints)},
            "ForceUpdate": 0,
        },
        # All replicas at once, and whatever becomes of them: no pause, and never a way back.
        "UpdateConfig": {"Parallelism": 0, "FailureAction": "continue", "Order": "stop-first"},
    }
    size = len(json.dumps(body))
    if size > BODY_BYTES_MAX:
        raise Rejected(f"the job is too large for a swarm: {size // 1024} KiB, at most {BODY_BYTES_MAX // 1024} KiB")
    return body


def build_resources(
    spec: JobSpec,
    common: CommonSettings,
    *,
    reserve: bool,
    memory_soft: bool,
    pids_limit: int | None,
    gpu_resource: str,
) -> Body:
    """Return the limits of each replica, and what Swarm sets aside for it."""
    request = spec.request
    limits: Body = {}
    reservations: Body = {}
    if not common.ignore_limits:
        cpu, memory = {"NanoCPUs": request.cpu_millicores * 1_000_000}, {"MemoryBytes": request.memory_mib * 2**20}
        limits = cpu if memory_soft else cpu | memory
        if reserve:
            reservations = cpu | memory
        elif memory_soft:
            reservations = memory
    if pids_limit is not None:
        limits = limits | {"Pids": pids_limit}
    if request.gpus:
        gpus = {"DiscreteResourceSpec": {"Kind": gpu_resource, "Value": request.gpus}}
        reservations = reservations | {"GenericResources": [gpus]}
    return {"Limits": limits, "Reservations": reservations}


def ended(spec: Mapping[str, Any], labels: Mapping[str, str]) -> Body:
    """Return a service's specification with ``labels`` added and all its tasks shut down.

    The tasks, their times and their logs stay, which they would not if it were scaled to 0. Swarm believes that it
    rolls out a new version: it shuts the old tasks down and keeps them, and the new ones wait for a node that cannot
    be.
    """
    body = copy.deepcopy(dict(spec))
    body["Labels"] = body.get("Labels", {}) | labels
    body["TaskTemplate"].setdefault("Placement", {})["Constraints"] = [NOWHERE]
    return body


def verbatim(text: str) -> str:
    """Return ``text`` so that it survives Swarm, which takes it for a template of Go: ``{{.Service.Name}}``.

    Values of the environment and strings of mounts are (and the host name): https://docs.docker.com/reference/cli/docker/service/create/#create-services-using-templates
    An action begins at ``{{``, wherever that is; braces that close are plain text outside of one.
    """
    return text.replace("{{", '{{"{{"}}')


def _verbatim_mount(mount: Mount) -> Mount:
    body = mount | {"Source": verbatim(mount["Source"])}
    driver = mount.get("VolumeOptions", {}).get("DriverConfig")
    if driver:
        options = {name: verbatim(value) for name, value in driver["Options"].items()}
        body["VolumeOptions"] = mount["VolumeOptions"] | {"DriverConfig": driver | {"Options": options}}
    return body


def _shm(common: CommonSettings) -> list[Mount]:
    """Return a mount that is as large as SHM_SIZE: a service has no size of its own for it."""
    if common.shm_size is None:
        return []
    options = {"SizeBytes": common.shm_size * 2**20}
    return [{"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": options}]  # noqa: S108 - inside the container


def _version(api_version: str) -> tuple[int, int]:
    major, minor = api_version.split(".")
    return int(major), int(minor)
