"""``/query``: which workflows, by their summaries. Of ids, names, statuses any, of labels all."""

import json
from typing import Any

from tests.fakes.cromwell import replies
from tests.fakes.cromwell.store import Json, Store, Workflow

STATUSES = {"Submitted", "On Hold", "Running", "Aborting", "Succeeded", "Failed", "Aborted"}
KEYS = {
    "start", "end", "submission", "status", "name", "id", "label", "labelor", "excludeLabelAnd", "excludeLabelOr",
    "page", "pagesize", "additionalQueryResultFields", "includeSubworkflows", "metadataArchiveStatus", "newestFirst",
}  # fmt: skip


def query(store: Store, asked: list[tuple[str, str]]) -> replies.Reply:
    """Answer. Raises ``Refused``: unknown keys, statuses, labels, ids."""
    values: dict[str, list[str]] = {}
    for key, value in asked:
        values.setdefault(key, []).append(value)
    _check(values)
    with store.changed:
        found = [one for one in store.all() if one.summary and _matches(one, values)]
    found.sort(key=lambda one: one.summary_number, reverse=True)
    total = len(found)
    if "pagesize" in values:
        size, page = int(values["pagesize"][0]), int(values.get("page", ["1"])[0])
        found = found[size * (page - 1) : size * page]
    with_labels = "labels" in values.get("additionalQueryResultFields", ())
    results = [_shown(one.summary, with_labels=with_labels) for one in found]
    return replies.Reply({"results": results, "totalResultsCount": total})


def pairs_of(body: Any) -> list[tuple[str, str]]:
    """Read the body of a POST: a list of objects with one key each."""
    if not isinstance(body, list):
        shown = json.dumps(body, separators=(",", ":"))
        raise replies.malformed(f"Expected Collection as JsArray, but got {shown}")
    return [(key, str(value)) for entry in body for key, value in entry.items()]


def _check(values: dict[str, list[str]]) -> None:
    if unknown := values.keys() - KEYS:
        raise replies.fail(f"Unrecognized query keys: {', '.join(sorted(unknown))}")
    if wrong := [status for status in values.get("status", ()) if status not in STATUSES]:
        raise replies.fail(f"Unrecognized status values: {', '.join(wrong)}")
    labels = [
        label for key in ("label", "labelor", "excludeLabelAnd", "excludeLabelOr") for label in values.get(key, ())
    ]
    if wrong := [label for label in labels if not all(label.partition(":"))]:
        raise replies.fail(f"Label values do not match allowed pattern label-key:label-value: {', '.join(wrong)}")
    for value in values.get("id", ()):
        try:
            replies.parse_id(value)
        except ValueError:
            raise replies.fail(f"Id values do match allowed workflow id pattern: invalid Id value: '{value}'") from None


def _matches(workflow: Workflow, values: dict[str, list[str]]) -> bool:
    summary = workflow.summary
    labels = {f"{key}:{value}" for key, value in summary["labels"].items()}
    for key in ("status", "name"):
        if key in values and summary.get(key) not in values[key]:
            return False
    if "id" in values and workflow.id not in {replies.parse_id(value) for value in values["id"]}:
        return False
    if not labels.issuperset(values.get("label", ())):
        return False
    if "labelor" in values and labels.isdisjoint(values["labelor"]):
        return False
    if "excludeLabelAnd" in values and labels.issuperset(values["excludeLabelAnd"]):
        return False
    if not labels.isdisjoint(values.get("excludeLabelOr", ())):
        return False
    return all(summary.get(key, "") >= values[key][0] for key in ("submission", "start") if key in values) and (
        "end" not in values or "" < summary.get("end", "") <= values["end"][0]
    )


def _shown(summary: Json, *, with_labels: bool) -> Json:
    shown = {key: value for key, value in summary.items() if key != "labels" or with_labels}
    return shown | {"metadataArchiveStatus": "Unarchived"}
