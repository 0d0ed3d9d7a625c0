"""What of a Kubernetes object does not depend on when and where it was made: used to hold the fake to the recordings."""

from typing import Any

Json = dict[str, Any]
NUMBERS = ("active", "ready", "terminating", "succeeded", "failed")
FREE = {"labels", "annotations", "matchLabels", "nodeSelector", "limits", "requests", "allocatedResources", "capacity"}
"""Their keys are values."""


def shape(value: Any) -> Any:
    """Return the keys of an object, and of all within it; of a list those of its items, without repetitions."""
    if isinstance(value, dict):
        return {key: "..." if key in FREE else shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        shapes: list[Any] = []
        for item in map(shape, value):
            if item not in shapes:
                shapes.append(item)
        return sorted(shapes, key=str)
    return type(value).__name__


def moments(events: list[Json], kind: str) -> list[list[Any]]:
    """Return what a watch told of each object of a kind, one after the other, repetitions left out."""
    lives: dict[str, list[Any]] = {}
    for event in events:
        found = event["object"]
        if found["kind"] == kind:
            told = [event["type"], *_metadata(found["metadata"]), *(_job if kind == "Job" else _pod)(found["status"])]
            life = lives.setdefault(found["metadata"]["name"], [])
            if not life or life[-1] != told:
                life.append(told)
    return list(lives.values())


def _metadata(metadata: Json) -> list[Any]:
    return [
        "deleted" if "deletionTimestamp" in metadata else "",
        metadata.get("deletionGracePeriodSeconds"),
        metadata.get("finalizers", []),
    ]


def _job(status: Json) -> list[Any]:
    uncounted = {name: len(uids) for name, uids in status.get("uncountedTerminatedPods", {}).items()}
    return [{name: status[name] for name in NUMBERS if name in status}, uncounted, conditions(status)]


def _pod(status: Json) -> list[Any]:
    states = [container["state"] for container in status.get("containerStatuses", ())]
    shown = [[name, inner.get("reason"), inner.get("exitCode")] for state in states for name, inner in state.items()]
    return [status["phase"], status.get("reason"), conditions(status), shown]


def conditions(status: Json) -> list[str]:
    return [f"{one['type']}={one['status']} {one.get('reason', '')}".strip() for one in status.get("conditions", ())]
