"""The yardstick for HTTP: what Flask and one Redis command cost under the same gunicorn, with nothing of pman in it."""

import json
import os
from typing import Any

import redis
from flask import Flask, Response, request

app = Flask(__name__)
client = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


@app.get("/bare/<jid>/")
def read(jid: str) -> Response:
    return Response(json.dumps(client.hgetall(f"bare:{jid}")), mimetype="application/json")


@app.post("/bare/")
def write() -> Response:
    body: dict[str, Any] = request.get_json()
    client.hset(f"bare:{body['jid']}", mapping={"state": "QUEUED", "request": json.dumps(body)})
    client.lpush("bare", body["jid"])
    return Response(json.dumps(body), 201, mimetype="application/json")
