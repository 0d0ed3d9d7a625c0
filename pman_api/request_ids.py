"""A name for every request: taken from the client if it is sane, told in the reply, written into every log line."""

import logging
import re
from uuid import uuid4

from flask import Flask, Response, g, has_request_context, request

HEADER = "X-Request-ID"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
"""For handlers that have a :class:`RequestIdFilter`."""
SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


def install(app: Flask) -> None:
    """Make ``app`` name its requests: ``g.request_id`` and a header of every reply."""
    app.before_request(_name_request)
    app.after_request(_tell_name)


def _name_request() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if SANE.fullmatch(given) else uuid4().hex


def _tell_name(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    return response


class RequestIdFilter(logging.Filter):
    """Give every log record a ``request_id``, ``-`` outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = g.get("request_id", "-") if has_request_context() else "-"
        return True
