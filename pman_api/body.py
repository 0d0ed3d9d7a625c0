"""The body of a POST: from bytes of any kind to a decoded JSON value, or to the reply that says what is wrong."""

import json
from collections import Counter
from typing import NoReturn

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from pman_api.wire import shortened
from pman_core.errors import Fault, InvalidRequest

KIB = 1024


def read_json(request: Request, max_kib: int) -> object:
    """Return the decoded body.

    Raises:
        UnsupportedMediaType: it does not claim to be JSON.
        RequestEntityTooLarge: it has more than ``max_kib``, announced or not.
        InvalidRequest: it is not JSON, whatever it claims to be.
    """
    media_type = request.mimetype
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaType
    return _decode(_read(request, max_kib * KIB))


def _read(request: Request, max_bytes: int) -> bytes:
    # One byte more than is allowed: Werkzeug refuses an announced length above the limit, but cuts a chunked body off
    # at the limit and says nothing. The byte too many shows it.
    request.max_content_length = max_bytes + 1
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raw = None
    except Exception as error:
        raise _bad(f"could not be read to its end: {type(error).__name__}") from error
    if raw is None or len(raw) > max_bytes:
        raise RequestEntityTooLarge(f"the body must have at most {max_bytes // KIB} KiB (MAX_BODY_KIB)")
    if len(raw) < (request.content_length or 0):
        # The server takes the end of the connection for the end of the body. https://www.rfc-editor.org/rfc/rfc9112#section-8
        raise _bad(f"ends after {len(raw)} of {request.content_length} bytes")
    return raw


def _decode(raw: bytes) -> object:
    if not raw:
        raise _bad("must not be empty")
    try:
        # Without this step, json would accept UTF-16 and UTF-32 too.
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"must be UTF-8: byte {error.start} is not") from None
    try:
        return json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_unambiguous)
    except json.JSONDecodeError as error:
        raise _bad(f"must be JSON: {error}") from None
    except RecursionError:
        raise _bad("must not be nested that deep") from None
    except ValueError:
        # Python refuses to convert whole numbers of thousands of digits.
        raise _bad("must not hold a number of thousands of digits") from None


def _reject_constant(name: str) -> NoReturn:
    raise _bad(f"must be JSON: {name} is no JSON number")


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key given twice: which of the two is meant is a guess, and readers on the way may guess otherwise."""
    decoded = dict(pairs)
    if len(decoded) < len(pairs):
        times = Counter(key for key, _ in pairs)
        raise InvalidRequest([Fault(shortened(key), "is given more than once") for key in times if times[key] > 1])
    return decoded


def _bad(message: str) -> InvalidRequest:
    return InvalidRequest([Fault("body", message)])
