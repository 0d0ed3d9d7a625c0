"""The one table of errors: which exception becomes which reply.

A reply is ``application/problem+json`` (RFC 9457) with three more members: ``message``, which is all that old clients
read; ``request_id``; and for bad input ``errors``, every fault with its field.
"""

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from pman_core.errors import Fault, InvalidRequest, StoreUnavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
FAULTS_SHOWN_MAX = 100
TABLE = {
    400: ("Bad Request", "the request is malformed"),
    404: ("Not Found", "there is nothing at this path"),
    405: ("Method Not Allowed", "this path does not take this method, see the header Allow"),
    409: ("Conflict", "the request contradicts what is there"),
    413: ("Content Too Large", "the request is too large"),
    415: ("Unsupported Media Type", "the body must be JSON, sent with Content-Type: application/json"),
    500: ("Internal Server Error", "pman has a defect; its log tells more under this request_id"),
    503: (
        "Service Unavailable",
        "the job store does not answer: nothing was confirmed, the same request may be sent again",
    ),
}
"""For each status its title and, where the place of the error says nothing more exact, its detail."""

log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Make ``app`` answer every error with a problem."""
    app.register_error_handler(InvalidRequest, _invalid_request)
    app.register_error_handler(StoreUnavailable, _store_unavailable)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)


def _invalid_request(error: InvalidRequest) -> Response:
    shown = error.faults[:FAULTS_SHOWN_MAX]
    hidden = len(error.faults) - len(shown)
    detail = "; ".join(map(str, shown)) + (f"; and {hidden} more" if hidden else "")
    return _problem(400, detail, shown)


def _store_unavailable(_: StoreUnavailable) -> Response:
    response = _problem(503)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _http_error(error: HTTPException) -> Response:
    is_ours = error.description != type(error).description
    response = _problem(error.code or 500, error.description or "" if is_ours else "")
    for name, value in error.get_headers():
        if name != "Content-Type":  # leaves Allow, of 405
            response.headers[name] = value
    return response


def _defect(error: Exception) -> Response:
    log.error("defect: %s %s jid=%s", request.method, quote(request.path), g.get("jid"), exc_info=error)
    return _problem(500)


def _problem(status: int, detail: str = "", faults: Sequence[Fault] = ()) -> Response:
    body = to_problem(status, detail, quote(request.path), g.request_id)
    if faults:
        body["errors"] = [{"field": fault.field, "message": fault.message} for fault in faults]
    return Response(json.dumps(body), status, content_type=MEDIA_TYPE)


def to_problem(status: int, detail: str, instance: str, request_id: str) -> dict[str, object]:
    """Return the members that every problem has. Pure: what is no request to Flask is answered by the server."""
    title, usual_detail = TABLE.get(status) or (HTTPStatus(status).phrase, "")
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail or usual_detail,
        "instance": instance,
        "request_id": request_id,
        "message": detail or usual_detail,
    }
