"""What the server does with a request, apart from HTTP.

https://cromwell.readthedocs.io/en/stable/api/RESTAPI/
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.cromwell import replies
from tests.fakes.cromwell.query import pairs_of, query
from tests.fakes.cromwell.replies import Reply
from tests.fakes.cromwell.run import VERSION
from tests.fakes.cromwell.store import Json, Store, Workflow
from tests.fakes.cromwell.submission import check_labels, parts_of, submit
from tests.fakes.cromwell.wdl import check

SIZE_MAX = 8 * 2**20
WORKFLOW = re.compile(r"/api/workflows/[^/]+/(?P<id>[^/]+)/(?P<what>[A-Za-z]+)")
COLLECTION = re.compile(r"/api/workflows/[^/]+(?:/(?P<what>batch|query|backends))?")


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    query: list[tuple[str, str]]
    body: bytes = b""
    content_type: str = ""

    @property
    def asked(self) -> str:
        """What faults name it by: ``POST submit``, ``GET status``, ``GET query``."""
        found = WORKFLOW.fullmatch(self.path) or COLLECTION.fullmatch(self.path)
        what = self.path.rpartition("/")[2] if found is None else found["what"] or "submit"
        return f"{self.method} {what}"


class Api:
    """All requests of one server."""

    def __init__(self, store: Store, backend: str) -> None:
        self.store, self.backend = store, backend
        self.patience_s = 10.0

    def answer(self, call: Call) -> Reply:
        """Do what is asked. Raises ``Refused``."""
        if len(call.body) > SIZE_MAX:
            raise replies.too_large(len(call.body), SIZE_MAX)
        if found := COLLECTION.fullmatch(call.path):
            return self._collection(call, found["what"] or "submit")
        if found := WORKFLOW.fullmatch(call.path):
            return self._workflow(call, found["id"], found["what"])
        if call.method == "GET" and call.path == "/engine/v1/version":
            return Reply({"cromwell": VERSION})
        if call.method == "GET" and call.path == "/engine/v1/status":
            return Reply({})
        if call.method == "POST" and call.path == "/api/womtool/v1/describe":
            return _describe(parts_of(call.body, call.content_type).get("workflowSource", ""))
        raise replies.no_such_path()

    def _collection(self, call: Call, what: str) -> Reply:
        route = (call.method, what)
        if route in {("POST", "submit"), ("POST", "batch")}:
            kind = call.content_type.partition(";")[0]
            if kind != "multipart/form-data":
                raise replies.plain(
                    f"The request's Content-Type [{kind}] is not supported. Expected:\nmultipart/form-data", 415
                )
            return submit(self.store, parts_of(call.body, call.content_type), is_batch=what == "batch")
        if route == ("GET", "query"):
            return query(self.store, call.query)
        if route == ("POST", "query"):
            return query(self.store, pairs_of(_json(call.body)))
        if route == ("GET", "backends"):
            return Reply({"defaultBackend": self.backend, "supportedBackends": [self.backend]})
        raise replies.no_such_path()

    def _workflow(self, call: Call, text: str, what: str) -> Reply:
        if (call.method, what) == ("PATCH", "labels"):
            return self._patch_labels(text, _labels(call.body))
        reading: dict[str, Callable[[Workflow, Call], Any]] = {
            "status": lambda found, _: {"status": found.summary["status"], "id": found.id},
            "labels": lambda found, _: {"id": found.id, "labels": found.summary["labels"]},
            "outputs": lambda found, _: {"outputs": found.flushed["outputs"], "id": found.id},
            "logs": lambda found, _: _logs(found.flushed),
            "metadata": lambda found, call: _metadata(found.flushed, call.query),
        }
        acting = {"abort": self._abort, "releaseHold": self._release}
        if not ((call.method == "GET" and what in reading) or (call.method == "POST" and what in acting)):
            raise replies.no_such_path()
        try:
            workflow_id = replies.parse_id(text)
        except ValueError:
            raise replies.fail(f"Invalid workflow ID: '{text}'.") from None
        if what in acting:
            with self.store.changed:
                return acting[what](workflow_id)
        found = self.store.summarized(workflow_id)
        if found is None:
            raise replies.unrecognized(workflow_id)
        return Reply(reading[what](found, call), may_be_compressed=what == "metadata")

    def _abort(self, workflow_id: str) -> Reply:
        """Mark it. Nothing is ended here but what has not begun."""
        found = self.store.find(workflow_id)
        if found is None or not found.state:
            raise replies.not_in_progress(workflow_id)
        if found.state in {"Submitted", "On Hold"}:
            found.state, found.live["status"] = "", "Aborted"
        else:
            found.state = found.live["status"] = "Aborting"
        self.store.write(found)
        return Reply({"id": workflow_id, "status": found.live["status"]})

    def _release(self, workflow_id: str) -> Reply:
        found = self.store.find(workflow_id)
        if found is None:
            raise replies.unrecognized(workflow_id)
        if found.state != "On Hold":
            message = (
                f"Couldn't change status of workflow {workflow_id} to 'Submitted' because the workflow is not in"
                " 'On Hold' state"
            )
            raise replies.fail(message, 403, "error")
        found.state = found.live["status"] = "Submitted"
        self.store.write(found)
        return Reply({"id": workflow_id, "status": "Submitted"})

    def _patch_labels(self, text: str, labels: dict[str, str]) -> Reply:
        """Answer when they are written; ``query`` and ``labels`` know them later."""
        try:
            workflow_id = replies.parse_id(text)
        except ValueError:
            raise replies.fail(f"Invalid workflow ID: '{text}'.", 500, "error") from None
        if long := check_labels(labels):
            raise replies.fail(long)
        found = self.store.summarized(workflow_id)
        if found is None:
            raise replies.unrecognized(workflow_id)
        with self.store.changed:
            found.live["labels"] = found.live["labels"] | labels
            flushes = self.store.flushes
            self.store.changed.wait_for(lambda: self.store.flushes > flushes, self.patience_s)
            return Reply({"id": workflow_id, "labels": found.live["labels"]})


def _json(body: bytes) -> Any:
    text = body.decode("utf-8", "replace")
    if why := replies.spray_error(text):
        raise replies.malformed(why)
    return json.loads(text)


def _labels(body: bytes) -> dict[str, str]:
    labels = _json(body)
    for value in labels.values():
        if not isinstance(value, str):
            raise replies.malformed(f"Expected String as JsString, but got {json.dumps(value)}")
    return labels  # type: ignore[no-any-return]


def _logs(told: Json) -> Json:
    keys = ("stderr", "stdout", "attempt", "shardIndex")
    calls = {
        name: [{key: call[key] for key in keys} for call in calls if "stdout" in call]
        for name, calls in told["calls"].items()
    }
    calls = {name: found for name, found in calls.items() if found}
    return ({"calls": calls} if calls else {}) | {"id": told["id"]}


def _metadata(told: Json, query: list[tuple[str, str]]) -> Json:
    """Leave out what was not asked for. A key of the request stands for all that begin with it."""
    included = tuple(value for key, value in query if key == "includeKey")
    excluded = tuple(value for key, value in query if key == "excludeKey")

    def chosen(entry: Json) -> Json:
        return {
            key: value
            for key, value in entry.items()
            if (not included or key.startswith(included)) and not key.startswith(excluded)
        }

    top = chosen({key: value for key, value in told.items() if key not in {"calls", "id"}})
    calls = {name: [chosen(call) for call in calls] for name, calls in told["calls"].items()}
    if "calls".startswith(excluded):
        calls = {}
    elif included:
        calls = {name: found for name, found in calls.items() if any(found)}
    for name, found in calls.items():
        for call, whole in zip(found, told["calls"][name], strict=True):
            call |= {key: whole[key] for key in ("shardIndex", "attempt")}
    return top | {"calls": calls, "id": told["id"]} if top or calls else {}


def _describe(source: str) -> Reply:
    why = check(source)
    described = {
        "valid": not why,
        "errors": [why] if why else [],
        "validWorkflow": not why,
        "name": "",
        "inputs": [],
        "outputs": [],
        "images": [],
        "submittedDescriptorType": {"descriptorType": "WDL", "descriptorTypeVersion": "1.0"},
        "importedDescriptorTypes": [],
        "meta": {},
        "parameterMeta": {},
        "isRunnableWorkflow": not why,
    }
    return Reply(described)
