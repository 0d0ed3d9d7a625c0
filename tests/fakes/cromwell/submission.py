"""POST of a workflow: a form of several parts, checked as Cromwell checks it, which is not the workflow itself.

https://cromwell.readthedocs.io/en/stable/api/RESTAPI/#submit-a-workflow-for-execution
"""

import json
import uuid
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import yaml

from tests.fakes.cromwell import replies
from tests.fakes.cromwell.store import AlreadyThere, Json, Store, Workflow, stamp

PARTS = {
    "workflowSource",
    "workflowUrl",
    "wdlSource",
    "workflowRoot",
    "workflowInputs",
    "workflowInputs_2",
    "workflowInputs_3",
    "workflowInputs_4",
    "workflowInputs_5",
    "workflowOptions",
    "workflowType",
    "workflowTypeVersion",
    "workflowDependencies",
    "labels",
    "customLabels",
    "workflowOnHold",
    "requestedWorkflowId",
}
LABEL_MAX = 255
DEPRECATED = (
    "299 cromwell/92 \"The 'wdlSource' parameter name has been deprecated in favor of 'workflowSource'. Support for"
    " 'wdlSource' will be removed from future versions of Cromwell. Please switch to using 'workflowSource' in future"
    ' submissions."'
)


def parts_of(body: bytes, content_type: str) -> dict[str, str]:
    """Take a form apart."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    found = {}
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        found[str(part.get_param("name", header="content-disposition"))] = payload.decode("utf-8", "replace")
    return found


def submit(store: Store, parts: dict[str, str], *, is_batch: bool = False) -> replies.Reply:
    """Check the parts and add the workflow, or several for a batch.

    Raises:
        Refused: with every fault at once.
    """
    faults = [f"Unexpected body part name: {name}" for name in parts if name not in PARTS]
    source = parts.get("workflowSource") or parts.get("wdlSource")
    if not source and not parts.get("workflowUrl"):
        faults.append("workflowSource or workflowUrl needs to be supplied")
    inputs = _inputs(parts.get("workflowInputs", "{}"), faults)
    options_text = parts.get("workflowOptions", "{}")
    options: Json = {}
    if why := replies.spray_error(options_text):
        faults.append(f"Invalid workflow options provided: {why}")
    else:
        options = json.loads(options_text)
    labels_text = parts.get("labels", "{}")
    faults += _label_faults(labels_text)
    ids = _ids(parts.get("requestedWorkflowId"), faults, is_batch=is_batch)
    if faults:
        raise replies.fail(f"Error(s): {', '.join(faults)}")
    sets = inputs if isinstance(inputs, list) else [inputs]
    state = "On Hold" if parts.get("workflowOnHold") == "true" else "Submitted"
    if taken := [one for one in ids if store.has(one)]:
        raise replies.in_use(", ".join(taken))
    answers = []
    for position, one in enumerate(sets):
        workflow = Workflow(
            id=ids[position] if ids else str(uuid.uuid4()),
            source=source or "",
            inputs=json.dumps(one, separators=(",", ":"), ensure_ascii=False),
            options=json.dumps(options),
            labels=labels_text,
            kind=parts.get("workflowType", ""),
            state=state,
            number=0,
            hog_group="",
        )
        workflow.hog_group = str(options.get("hogGroup") or workflow.id)
        workflow.live = _first_metadata(workflow, options)
        try:
            store.add(workflow)
        except AlreadyThere:
            raise replies.lost_race() from None
        answers.append({"id": workflow.id, "status": state})
    headers = {"Warning": DEPRECATED} if "wdlSource" in parts else {}
    return replies.Reply(answers if is_batch else answers[0], 201, headers)


def check_labels(labels: dict[str, Any]) -> str:
    """Return what is wrong with labels that are strings, or ``""``."""
    long = [text for pair in labels.items() for text in pair if len(text) > LABEL_MAX]
    return ", ".join(f"Invalid label: `{text}` is {len(text)} characters. The maximum is {LABEL_MAX}." for text in long)


def _first_metadata(workflow: Workflow, options: Json) -> Json:
    labels = json.loads(workflow.labels or "{}")
    return {
        "submittedFiles": {
            "workflow": workflow.source,
            "root": "",
            "options": json.dumps(options, indent=2) if options else "{\n\n}",
            "inputs": workflow.inputs,
            "workflowUrl": "",
            "labels": workflow.labels,
        },
        "calls": {},
        "outputs": {},
        "status": workflow.state,
        "id": workflow.id,
        "inputs": {},
        "labels": {"cromwell-workflow-id": f"cromwell-{workflow.id}"} | labels,
        "submission": stamp(),
    }


def _inputs(text: str, faults: list[str]) -> Any:
    """Read inputs, which may be YAML."""
    text = text.strip()
    try:
        return yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        shown = [
            f"{what}\n in 'reader', line {mark.line + 1}, column {mark.column + 1}:\n{mark.get_snippet()}\n"
            for what, mark in ((error.context, error.context_mark), (error.problem, error.problem_mark))
            if what and mark
        ]
        faults.append(
            f"Input file is not a valid yaml or json. Inputs data: '{text}'. Error: ParsingFailure: {''.join(shown)}."
        )
        return {}


def _label_faults(text: str) -> list[str]:
    if why := replies.spray_error(text):
        return [f"Invalid workflow custom labels provided: {why}"]
    labels = json.loads(text)
    if not isinstance(labels, dict):
        return [f"Invalid workflow custom labels JSON. Expected JsObject but got: {text}"]
    wrong = [
        f"Invalid label {key}: {json.dumps(value)} : Labels must be strings. A Label key must be non-empty."
        for key, value in labels.items()
        if not isinstance(value, str) or not key
    ]
    return wrong or ([long] if (long := check_labels(labels)) else [])


def _ids(text: str | None, faults: list[str], *, is_batch: bool) -> list[str]:
    if text is None:
        return []
    ids = []
    for one in json.loads(text) if is_batch else [text]:
        try:
            ids.append(replies.parse_id(one))
        except ValueError:
            faults.append(f"Failed to parse requested workflow ID as UUID (reason 1 of 1): Invalid UUID string: {one}")
    return ids
