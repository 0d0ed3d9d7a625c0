"""The OpenAPI 3.1 document: every route of :mod:`pman_api.app`, what it takes and all that it answers. Pure.

Written by hand but for what :mod:`pman_api.openapi_schemas` derives; a test compares it with the routes and with
every golden reply. https://spec.openapis.org/oas/v3.1.0
"""

import json
from functools import cache
from typing import Any

from flask import Response

from pman_api.jobs import CURSOR_PATTERN, PAGE_DEFAULT, PAGE_MAX
from pman_api.openapi_schemas import DOTS, JID, Schema, schemas
from pman_api.problems import RETRY_AFTER_S
from pman_core import __version__

DESCRIPTION = """\
HTTP in, container job on any scheduler, truth out.

Every path is served with and without its last slash; nothing is ever redirected. Slashes around a jid in a path are
stripped. HEAD is answered wherever GET is. What is no route is 404, a method that a route does not take is 405, and a
request that is no HTTP is 400; these, too, are problems as below.
"""

ERRORS: dict[int, tuple[str, str]] = {
    400: ("InvalidRequest", "Bad input; every fault is named."),
    404: ("Problem", "There is no such job."),
    409: ("Problem", "There is a job of this jid with another body."),
    413: ("Problem", "The body is larger than MAX_BODY_KIB."),
    415: ("Problem", "The body is not sent as JSON."),
    500: ("Problem", "A defect of pman; its log tells more under the request_id."),
    503: ("Problem", "Redis does not answer: nothing was confirmed, the same request may be sent again."),
}

REQUEST_ID: Schema = {
    "X-Request-ID": {
        "description": "The name of this request in pman's log: the client's own, if it sent a sane one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    }
}
RETRY_AFTER: Schema = {
    "Retry-After": {
        "description": "Seconds.",
        "required": True,
        "schema": {"type": "integer", "const": RETRY_AFTER_S},
    }
}


def view() -> Response:
    """GET of the document."""
    return Response(_text(), content_type="application/json")


@cache
def _text() -> str:
    return json.dumps(document())


def document() -> Schema:
    """Return the whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pman",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": _paths(),
        "components": {"schemas": schemas()},
    }


def _paths() -> dict[str, Schema]:
    return {
        "/api/v1/": {
            "get": _operation("describe", "What this pman is; needs no Redis.", {200: "Description"}, 500),
            "post": _operation(
                "submit",
                "Accept a job. The same body again is answered with the present record, and nothing runs twice.",
                {201: "AcceptedJob"},
                *(400, 409, 413, 415, 500, 503),
                requestBody={
                    "required": True,
                    "description": "Any media type application/json or application/...+json is taken.",
                    "content": {"application/json": {"schema": _ref("JobRequest")}},
                },
            ),
        },
        "/api/v1/{jid}/": {
            "parameters": [_JID],
            "get": _operation("read", "The record of a job. What is no jid is 404.", {200: "Job"}, 404, 500, 503),
            "delete": _operation(
                "delete",
                "End a job and forget it; 204 however often, known or not. What is no jid is 400.",
                {204: None},
                *(400, 500, 503),
            ),
        },
        "/jobs/": {
            "parameters": [_LIMIT, _CURSOR],
            "get": _operation("list", "All jobs, newest first, without logs.", {200: "JobList"}, 400, 500, 503),
        },
        "/health/": {"get": _operation("health", "Is this process alive?", {200: "Health"}, 500)},
        "/ready/": {"get": _operation("ready", "Can jobs be accepted?", {200: "Readiness"}, 500, 503)},
        "/openapi.json": {"get": _operation("openapi", "This document.", {200: "OpenAPI"}, 500)},
    }


_JID: Schema = {
    "name": "jid",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": JID, "not": {"pattern": DOTS}},
}
_LIMIT: Schema = {
    "name": "limit",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT},
}
_CURSOR: Schema = {
    "name": "cursor",
    "in": "query",
    "description": "`next` of the page before; empty for the first page.",
    "schema": {"type": "string", "pattern": f"^({CURSOR_PATTERN.pattern})?$", "default": ""},
}


def _operation(name: str, summary: str, success: dict[int, str | None], *errors: int, **more: Any) -> Schema:
    ((status, schema),) = success.items()
    content = {"content": {"application/json": {"schema": _ref(schema)}}} if schema else {}
    responses = {str(status): {"description": summary, "headers": REQUEST_ID, **content}}
    return {"operationId": name, "summary": summary, **more, "responses": responses | dict(map(_error, errors))}


def _error(status: int) -> tuple[str, Schema]:
    schema, description = ERRORS[status]
    return str(status), {
        "description": description,
        "headers": REQUEST_ID | (RETRY_AFTER if status == 503 else {}),
        "content": {"application/problem+json": {"schema": _ref(schema)}},
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
