"""What of a Kubernetes object does not depend on when and where it was made; holds the fake to the recordings."""

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


def lives(events: list[Json], kind: str) -> list[Json]:
    """Return what a watch told of each object of a kind: how each of its sides changed, and a job's numbers at last.

    What of one side comes before or after what of another depends on who was faster: they are told apart. So are the
    numbers of a job, which skip values when several pods change at once.
    """
    told: dict[str, list[Json]] = {}
    for event in events:
        found = event["object"]
        if found["kind"] == kind:
            sides = {"event": event["type"]} | _marks(found["metadata"])
            sides |= _numbers(found["status"]) if kind == "Job" else _pod(found["status"])
            told.setdefault(found["metadata"]["name"], []).append(sides | {"conditions": conditions(found["status"])})
    return [_life(moments) for moments in told.values()]


def _life(moments: list[Json]) -> Json:
    life: Json = {side: _changes([moment[side] for moment in moments]) for side in moments[0] if side != "numbers"}
    if "phase" in life and life["deleted"] != [""]:  # whether its finalizer goes before it or with it is chance
        del life["finalizers"]
    return life | ({"numbers": moments[-1]["numbers"]} if "numbers" in moments[0] else {})


def difference(real: list[Json], fake: list[Json], *, are_over: bool) -> str:
    """Say what the real lives have that no life of the fake has, in order; ``""`` if nothing. A real server may skip
    what lasts a moment only, so the fake may tell more of it.
    """
    left = list(fake)
    for life in real:
        same = [one for one in left if not _lacks(life, one, are_over)]
        if not same:
            return f"no life like {life} among {left}"
        left.remove(same[0])
    return f"more lives than the real ones: {left}" if left else ""


def _lacks(life: Json, other: Json, are_over: bool) -> bool:
    if are_over and life.get("numbers") != other.get("numbers"):
        return True
    sides = life.keys() & other.keys() - {"numbers"}
    return not all(_is_within(life[side], other[side]) for side in sides)


def _is_within(values: list[Any], others: list[Any]) -> bool:
    """Whether all values are there in this order, and the last ones are the same or not yet there."""
    left = iter(others)
    return all(any(value == other for other in left) for value in values)


def vocabulary(told: list[Json]) -> set[str]:
    """Return every value of every side."""
    return {
        f"{side} {value}" for life in told for side, values in life.items() if side != "numbers" for value in values
    }


def _changes(values: list[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if number == 0 or value != values[number - 1]]


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
