"""The yardsticks for HTTP: what gunicorn, Flask and one Redis command cost, one upon the other, with nothing of pman.

``/gunicorn/`` is answered before Flask is asked, ``/flask/`` by Flask without Redis, ``/bare/`` with one command.
"""

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import redis
from flask import Flask, Response, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

CONSTANT = json.dumps({"constant": "x" * 600}).encode()  # as long as a record

app = Flask(__name__)
client = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


def ahead_of(flask: "WSGIApplication") -> "WSGIApplication":
    """Answer what shall cost nothing but gunicorn."""

    def answer(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/gunicorn/"):
            return flask(environ, start_response)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(CONSTANT)))]
        start_response("200 OK", headers)
        return [CONSTANT]

    return answer


app.wsgi_app = ahead_of(app.wsgi_app)  # type: ignore[method-assign]


@app.get("/flask/<jid>/")
def constant(jid: str) -> Response:  # noqa: ARG001
    return Response(CONSTANT, mimetype="application/json")


@app.get("/bare/<jid>/")
def read(jid: str) -> Response:
    return Response(json.dumps(client.hgetall(f"bare:{jid}")), mimetype="application/json")


@app.post("/bare/")
def write() -> Response:
    body: dict[str, Any] = request.get_json()
    client.hset(f"bare:{body['jid']}", mapping={"state": "QUEUED", "request": json.dumps(body)})
    client.lpush("bare", body["jid"])
    return Response(json.dumps(body), 201, mimetype="application/json")
