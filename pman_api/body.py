"""The body of a POST: from bytes of any kind to a decoded JSON value, or to the reply that says what is wrong."""

import json
from typing import NoReturn

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from pman_core.errors import Fault, InvalidRequest

KIB = 1024


def read_json(request: Request) -> object:
    """Return the decoded body.

    Raises:
        UnsupportedMediaType: it does not claim to be JSON.
        RequestEntityTooLarge: it is longer than ``MAX_CONTENT_LENGTH``, announced or not.
        InvalidRequest: it is not JSON, whatever it claims to be.
    """
    media_type = request.mimetype
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaType
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        limit_kib = (request.max_content_length or 0) // KIB
        raise RequestEntityTooLarge(f"the body must have at most {limit_kib} KiB (MAX_BODY_KIB)") from None
    return _decode(raw)


def _decode(raw: bytes) -> object:
    if not raw:
        raise _bad("must not be empty")
    try:
        # Without this step, json would accept UTF-16 and UTF-32 too.
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"must be UTF-8: byte {error.start} is not") from None
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        raise _bad(f"must be JSON: {error}") from None
    except RecursionError:
        raise _bad("must not be nested that deep") from None
    except ValueError:
        # Python refuses to convert whole numbers of thousands of digits.
        raise _bad("must not hold a number of thousands of digits") from None


def _reject_constant(name: str) -> NoReturn:
    raise _bad(f"must be JSON: {name} is no JSON number")


def _bad(message: str) -> InvalidRequest:
    return InvalidRequest([Fault("body", message)])
