"""An order as slurmrestd wants it: the body of ``job/submit``. Pure.

https://slurm.schedmd.com/rest_api.html#slurmV0043PostJobSubmit; versions below v0.0.39 are told of in Slurm's own
``/openapi/v3`` only.
"""

from collections.abc import Callable, Mapping
from typing import Any

from backends._slurm.rest_version import Version
from backends._slurm.transport import SbatchOrder
from pman_core.errors import Rejected

GRES_HAS_SLASH_FROM = 40

OPTIONS: Mapping[str, tuple[str, Callable[[str, Version], Any]]] = {
    "cores-per-socket": ("cores_per_socket", lambda value, _: int(value)),
    "distribution": ("distribution", lambda value, _: value),
    "exclusive": ("exclusive", lambda value, _: value or "exclusive"),
    "licenses": ("licenses", lambda value, _: value),
    "mail-user": ("mail_user", lambda value, _: value),
    "mem-per-cpu": ("memory_per_cpu", lambda value, version: _number(int(value.removesuffix("M")), version)),
    "nice": ("nice", lambda value, _: int(value)),
    "reservation": ("reservation", lambda value, _: value),
    "sockets-per-node": ("sockets_per_node", lambda value, _: int(value)),
    "threads-per-core": ("threads_per_core", lambda value, _: int(value)),
    "wckey": ("wckey", lambda value, _: value),
}
"""Options of sbatch by their long names: how a body calls them, and what it has for a value."""
NEW_OPTIONS: Mapping[str, tuple[str, Callable[[str, Version], Any]]] = {
    "exclude": ("excluded_nodes", lambda value, _: [value]),
    "exclusive": ("shared", lambda value, _: [value or "none"]),
    "nodelist": ("required_nodes", lambda value, _: [value]),
    "prefer": ("prefer", lambda value, _: value),
}
"""Those that are otherwise, or only there, in the newer shape."""


def body_of(order: SbatchOrder, version: Version) -> dict[str, Any]:
    """Return what is posted.

    Raises:
        Rejected: an option that cannot be asked for this way.
    """
    job: dict[str, Any] = {
        "name": order.name,
        "comment": order.comment,
        "current_working_directory": order.work_dir,
        "standard_output": order.output.replace("%", "%%"),
        "open_mode": "append",
        "requeue": False,
        "tasks": order.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": order.cpus,
        "partition": order.partition,
        "account": order.account,
        "qos": order.qos,
        "constraints": order.constraint,
        "memory_per_node": _number(order.memory_mib, version),
        "time_limit": _number(order.time_limit_minutes, version),
        **dict(_option(name, value, version) for name, value in order.options),
    }
    if version.is_legacy:
        job |= {
            "environment": dict(order.environment),
            "nodes": [order.nodes, order.nodes],
            "gres": order.gres,
        }
        return {"script": order.script, "job": _asked_for(job)}
    separator = "/" if version.number >= GRES_HAS_SLASH_FROM else ":"
    job |= {
        "open_mode": ["APPEND"],
        "script": order.script,
        "environment": [f"{name}={value}" for name, value in order.environment.items()],
        "minimum_nodes": order.nodes,
        "maximum_nodes": order.nodes,
        "tres_per_node": f"gres{separator}{order.gres}" if order.gres else "",
    }
    return {"job": _asked_for(job)}


def _option(name: str, value: str, version: Version) -> tuple[str, Any]:
    known = OPTIONS if version.is_legacy else {**OPTIONS, **NEW_OPTIONS}
    if name not in known:
        raise Rejected(f"the option --{name} of sbatch cannot be asked for through slurmrestd {version}")
    key, convert = known[name]
    try:
        return key, convert(value, version)
    except ValueError:
        raise Rejected(f"the option --{name} of sbatch cannot be {value!r} through slurmrestd") from None


def _asked_for(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if value is not None and value != ""}


def _number(value: int | None, version: Version) -> int | dict[str, Any] | None:
    if value is None or version.is_legacy:
        return value
    return {"set": True, "infinite": False, "number": value}
