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


def lives(events: list[Json], kind: str, *, are_over: bool = True) -> list[Json]:
    """Return what a watch told of each object of a kind: how each of its sides changed, and how it was at last.

    What of one side comes before or after what of another depends on who was faster: they are told apart. So are the
    numbers of a job, which skip values when several pods change at once: of them only the last ones count, if it is over.
    """
    told: dict[str, list[Json]] = {}
    for event in events:
        found = event["object"]
        if found["kind"] == kind:
            sides = {"event": event["type"]} | _marks(found["metadata"])
            sides |= _numbers(found["status"]) if kind == "Job" else _pod(found["status"])
            told.setdefault(found["metadata"]["name"], []).append(sides | {"conditions": conditions(found["status"])})
    return sorted((_life(moments, are_over) for moments in told.values()), key=str)


def _life(moments: list[Json], is_over: bool) -> Json:
    life: Json = {side: _changes([moment[side] for moment in moments]) for side in moments[0] if side != "numbers"}
    if "DELETED" in life["event"]:  # whether its finalizer goes before it or with it is chance
        del life["finalizers"]
    return life | ({"numbers": moments[-1]["numbers"]} if is_over and "numbers" in moments[0] else {})


def _changes(values: list[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if number == 0 or value != values[number - 1]]


def beginning(life: Json, known: Json) -> Json:
    """Return of a life no more than a shorter one tells."""
    return {side: values[: len(known[side])] for side, values in life.items() if side in known}


def _marks(metadata: Json) -> Json:
    grace = metadata.get("deletionGracePeriodSeconds")
    return {"deleted": grace if "deletionTimestamp" in metadata else "", "finalizers": metadata.get("finalizers", [])}


def _numbers(status: Json) -> Json:
    uncounted = {name: len(uids) for name, uids in status.get("uncountedTerminatedPods", {}).items()}
    return {"numbers": {name: status[name] for name in NUMBERS if name in status} | {"uncounted": uncounted}}


def _pod(status: Json) -> Json:
    states = [container["state"] for container in status.get("containerStatuses", ())]
    shown = [[name, inner.get("reason"), inner.get("exitCode")] for state in states for name, inner in state.items()]
    return {"phase": [status["phase"], status.get("reason")], "container": shown}


def conditions(status: Json) -> list[str]:
    return [f"{one['type']}={one['status']} {one.get('reason', '')}".strip() for one in status.get("conditions", ())]
