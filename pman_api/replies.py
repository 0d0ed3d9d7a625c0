"""The two shapes of a successful reply."""

import json

from flask import Response


def json_reply(body: object, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def no_content() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
