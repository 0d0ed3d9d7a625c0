"""What the bodies of requests and replies look like, as JSON schemas of OpenAPI 3.1. Pure.

The request is derived from :class:`pman_core.request.JobRequest`: names, limits, defaults and what is required come
from there. Its validators are code, which no generator can read; what they ask is said here once more, as far as JSON
Schema can say it. ``tests/unit/test_api_openapi.py`` holds both together.
"""

from typing import Any

from pman_core.request import CONTROL_FOLDER, ELEMENTS_MAX, JID_PATTERN, JobRequest
from pman_core.states import WIRE_STATUS, Reason, State

Schema = dict[str, Any]

NO_NUL = r"^[^\x00]*$"
JID = rf"^{JID_PATTERN.pattern}$"
JID_IN_SLASHES = rf"^/*{JID_PATTERN.pattern}/*$"
DOTS = r"^/*\.{1,2}/*$"
DIGITS_MAX = 10

KEYWORDS = {"integer": {"ge": "minimum", "le": "maximum"}, "array": {"minLength": "minItems"}}
"""What pydantic calls the limits of a field that has a validator before them, which is no JSON Schema."""

STORE_PATH: Schema = {
    "pattern": NO_NUL,
    "not": {
        "anyOf": [
            {"pattern": r"^(\.?/)*\.?$"},
            {"pattern": r"(^|/)\.\.(/|$)"},
            {"pattern": rf"^(\.?/)*\{CONTROL_FOLDER}(/|$)"},
        ]
    },
    "description": "A folder below the store base. Slashes around it are stripped, it is relative all the same. It must"
    f" not be the store base itself, leave it by '..' or by a symbolic link, or be in {CONTROL_FOLDER}.",
}
"""The three that are refused: nothing but slashes and single dots, a part that is '..', pman's own folder."""

BY_FIELD: dict[str, Schema] = {
    "jid": {
        "pattern": JID_IN_SLASHES,
        "not": {"pattern": DOTS},
        "description": "The name of the job. Slashes around it are stripped.",
    },
    "args": {"description": "Arguments of the program, verbatim; no shell reads them."},
    "args_path_flags": {
        "description": "Flags of `args` whose value is a path: it is replaced by /share/incoming. Order and repetition"
        " make no difference.",
    },
    "auid": {"pattern": NO_NUL, "description": "Who asked for the job."},
    "cpu_limit": {"description": "Millicores."},
    "memory_limit": {"description": "MiB."},
    "gpu_limit": {"description": "Number of GPUs; a backend without any refuses all but 0."},
    "time_limit": {"description": "Minutes after which the job is ended; without it the site's default. An addition."},
    "number_of_workers": {"description": "A backend may refuse more than it can run at once."},
    "image": {
        "pattern": "^[^-]",
        "not": {"pattern": r"[\s\x00-\x1f\x7f-\xa0\xad]"},
        "description": "Image reference: printable, no white space, no leading dash.",
    },
    "entrypoint": {
        "prefixItems": [{"type": "string", "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}],
        "description": "The program and its first arguments; it replaces the ENTRYPOINT of the image.",
    },
    "type": {"description": "A `ds` has input; `fs` and `ts` have none of their own."},
    "env": {
        "items": {"type": "string", "pattern": r"^[^=\x00]+=[^\x00]*$"},
        "description": "Environment, each NAME=value; of a name given twice the last counts.",
    },
    "input_dir": STORE_PATH,
    "output_dir": STORE_PATH,
}


def job_request() -> Schema:
    """Return the schema of a POST's body."""
    schema = JobRequest.model_json_schema(by_alias=True)
    properties = {name: _as_on_the_wire(name, derived) for name, derived in schema["properties"].items()}
    return {
        "type": "object",
        "description": "Other keys are ignored and named in `warnings`; a key given twice is refused. Text is valid"
        " Unicode: half of a surrogate pair is refused.",
        "properties": properties,
        "required": schema["required"],
        "additionalProperties": True,
    }


def _as_on_the_wire(name: str, derived: Schema) -> Schema:
    if "anyOf" in derived:  # it may be null
        known = _as_on_the_wire(name, next(kind for kind in derived["anyOf"] if kind["type"] != "null"))
        return known | {"anyOf": [*known["anyOf"], {"type": "null"}], "default": derived["default"]}
    keywords = KEYWORDS.get(derived["type"], {})
    known = {keywords.get(key, key): value for key, value in derived.items() if key != "title"}
    if known["type"] == "integer":
        return _number(known) | BY_FIELD[name]
    if known["type"] == "array":
        # null is an empty list, which is too short where at least one element is required.
        kind = "array" if "minItems" in known else ["array", "null"]
        known |= {"type": kind, "items": {"type": "string", "pattern": NO_NUL}, "maxItems": ELEMENTS_MAX}
    return known | BY_FIELD[name]


def _number(integer: Schema) -> Schema:
    digits = "^0*[1-9][0-9]*$" if integer["minimum"] else "^[0-9]+$"
    return {
        "anyOf": [
            integer | {"description": "Without a fraction: 1.0 is refused."},
            {
                "type": "string",
                "pattern": digits,
                "maxLength": DIGITS_MAX,
                "description": f"The same as digits, from {integer['minimum']} to {integer['maximum']}.",
            },
        ]
    }


def nullable(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


def an_object(properties: dict[str, Schema], **more: Any) -> Schema:
    """Return the schema of an object that has all of ``properties``, and in a later release more of them."""
    return {"type": "object", "properties": properties, "required": list(properties), **more}


TEXT: Schema = {"type": "string"}
TIME: Schema = nullable("string", format="date-time")

RECORD_PROPERTIES: dict[str, Schema] = {
    "jid": {"type": "string", "pattern": JID},
    "image": TEXT,
    "cmd": {"type": "string", "description": "The whole command, quoted for a shell; the same on every backend."},
    "status": {
        "type": "string",
        "enum": list(dict.fromkeys(WIRE_STATUS.values())),
        "description": "`undefined`: lost for good. It is never told for anything transient.",
    },
    "message": {"type": "string", "description": "For people: why it failed, or what it waits for."},
    "timestamp": {"type": "string", "description": "The time of the end, ISO 8601; empty before."},
    "logs": {"type": "string", "description": "The end of the log; always empty in a list."},
    "state": {"type": "string", "enum": [state.value for state in State]},
    "reason": {"type": "string", "enum": ["", *(reason.value for reason in Reason)]},
    "exit_code": nullable("integer", description="128 + N when signal N ended the job."),
    "native_state": {"type": "string", "description": "The scheduler's own word for it."},
    "created_at": {"type": "string", "format": "date-time"},
    "started_at": TIME,
    "finished_at": TIME,
    "generation": {
        "type": "string",
        "description": "Names this execution of the jid; a new POST after DELETE has another.",
    },
    "attempts": {"type": "integer", "minimum": 0},
}

BACKEND: Schema = nullable(
    "object",
    description="What workers have last said of the backend; null as long as none has.",
    properties={
        "name": TEXT,
        "ok": {"type": "boolean"},
        "message": TEXT,
        "reported_at": TIME,
        "capabilities": {"type": "object", "description": "What it can do; POSTs that ask for more are refused."},
    },
    required=["name", "ok", "message", "reported_at", "capabilities"],
)

PROBLEM = an_object(
    {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": TEXT,
        "instance": TEXT,
        "request_id": TEXT,
        "message": {"type": "string", "description": "The same as `detail`; all that old clients read."},
    },
    description="RFC 9457.",
)
FAULTS = an_object(
    {"field": {"type": "string", "description": "As on the wire: `env[0]`; `body` for the whole."}, "message": TEXT}
)


def schemas() -> dict[str, Schema]:
    """Return all schemas by their names in the document."""
    invalid = {**PROBLEM["properties"], "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Fault"}}}
    return {
        "JobRequest": job_request(),
        "Job": an_object(RECORD_PROPERTIES),
        "AcceptedJob": an_object(
            {
                **RECORD_PROPERTIES,
                "warnings": {"type": "array", "items": TEXT, "description": "Keys that were ignored."},
            }
        ),
        "JobList": an_object(
            {
                "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
                "next": nullable("string", description="`cursor` of the next page; null on the last."),
            }
        ),
        "Description": an_object(
            {"server_version": TEXT, "container_env": TEXT, "storage_type": TEXT, "backend": BACKEND}
        ),
        "OpenAPI": {"type": "object", "required": ["openapi", "info", "paths", "components"]},
        "Health": an_object({"status": {"type": "string", "const": "alive"}}),
        "Readiness": an_object({"status": {"type": "string", "const": "ready"}, "backend": BACKEND}),
        "Problem": PROBLEM,
        "InvalidRequest": an_object(
            invalid, description="Every fault at once; at most 100 are listed, all are counted."
        ),
        "Fault": FAULTS,
    }
