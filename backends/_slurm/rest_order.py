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

OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "reservation": ("reservation", str),
    "wckey": ("wckey", str),
    "licenses": ("licenses", str),
    "nice": ("nice", int),
}
"""Options of sbatch by their long names: how the body calls them in every version, and what is there."""


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
        **dict(_option(name, value) for name, value in order.options),
    }
    if version.is_legacy:
        job |= {
            "environment": dict(order.environment),
            "nodes": [order.nodes, order.nodes],
            "memory_per_node": order.memory_mib,
            "time_limit": order.time_limit_minutes,
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
        "memory_per_node": _number(order.memory_mib),
        "time_limit": _number(order.time_limit_minutes),
        "tres_per_node": f"gres{separator}{order.gres}" if order.gres else "",
    }
    return {"job": _asked_for(job)}


def _option(name: str, value: str) -> tuple[str, Any]:
    if name not in OPTIONS:
        raise Rejected(f"the option --{name} of sbatch cannot be asked for through slurmrestd")
    key, convert = OPTIONS[name]
    try:
        return key, convert(value)
    except ValueError:
        raise Rejected(f"the option --{name} of sbatch cannot be {value!r}") from None


def _asked_for(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if value not in (None, "")}


def _number(value: int | None) -> dict[str, Any] | None:
    return None if value is None else {"set": True, "infinite": False, "number": value}
