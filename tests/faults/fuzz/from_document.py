"""Requests that schemathesis makes from the OpenAPI document, right and wrong, and whether the replies are in it."""

from collections.abc import Callable
from typing import Any

import hypothesis
import requests
from hypothesis import HealthCheck, Phase
from jsonschema import Draft202012Validator

from pman_api.openapi import document
from tests.faults.fuzz.exchange import Reply, Shot

ROUND = 100
"""Hypothesis remembers what it has made: many short rounds are faster than a long one."""
DOCUMENT = document()
SHARES = {
    ("/api/v1/", "POST", "positive"): 3,
    ("/api/v1/", "POST", "negative"): 2,
    ("/api/v1/{jid}/", "GET", "positive"): 1,
    ("/api/v1/{jid}/", "GET", "negative"): 1,
    ("/api/v1/{jid}/", "DELETE", "positive"): 1,
    ("/api/v1/{jid}/", "DELETE", "negative"): 1,
    ("/jobs/", "GET", "positive"): 1,
    ("/jobs/", "GET", "negative"): 1,
}
"""The operations that take anything, each with its share."""


def generate(count: int, seed: int, send: Callable[[Shot, dict[str, Any]], None]) -> None:
    """Send about ``count`` cases, each with the operation that it was made from."""
    import schemathesis  # noqa: PLC0415 - it takes seconds, which tests of the rest shall not pay

    schema = schemathesis.openapi.from_dict(DOCUMENT)
    for number, ((path, method, mode), share) in enumerate(SHARES.items()):
        strategy = schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode(mode))
        operation = DOCUMENT["paths"][path][method.lower()]
        left, turn = count * share // sum(SHARES.values()), seed * 1000 + number
        while left > 0:
            _round(strategy, min(left, ROUND), turn, lambda case, op=operation: send(_to_shot(case, op), op))  # type: ignore[misc]
            left, turn = left - ROUND, turn + len(SHARES)


def _round(strategy: Any, count: int, seed: int, act: Callable[[Any], None]) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def run(case: Any) -> None:
        act(case)

    run()


def _to_shot(case: Any, operation: dict[str, Any]) -> Shot:
    if isinstance(case.body, dict):
        # 1.0 is a whole number to JSON Schema and none to pman: most good bodies would fail for that alone.
        case.body = {key: int(value) if _is_whole(value) else value for key, value in case.body.items()}
    arguments = case.as_transport_kwargs(base_url="http://pman.example")
    prepared = requests.Request(**{key: arguments.get(key) for key in ("method", "url", "params", "json", "data")})
    prepared.headers = {key: value for key, value in arguments["headers"].items() if key == "Content-Type"}
    ready = prepared.prepare()
    body = ready.body or b""
    raw_body = body if isinstance(body, bytes) else body.encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in ready.headers.items())
    raw = f"{ready.method} {ready.path_url} HTTP/1.1\r\nHost: pman.example\r\n{head}\r\n".encode("latin-1") + raw_body
    kind = f"document: {case.operation.label}"
    return Shot(kind, raw, method=str(ready.method), may_create=operation["operationId"] == "submit")


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def untold(reply: Reply, operation: dict[str, Any]) -> str:
    """Return what of ``reply`` the document does not say; empty if it says it all."""
    told = operation["responses"].get(str(reply.status))
    if told is None:
        return f"the document has no {reply.status} for {operation['operationId']}"
    if missing := {name for name in told["headers"] if name not in reply.headers}:
        return f"without the headers {missing}"
    media_type = reply.headers.get("Content-Type", "")
    if media_type not in told.get("content", {"": None}):
        return f"{media_type!r} is not a media type of {reply.status}"
    if reply.body:
        schema = told["content"][media_type]["schema"] | {"components": DOCUMENT["components"]}
        error = next(Draft202012Validator(schema).iter_errors(reply.json()), None)
        return f"{error.json_path}: {error.message}"[:300] if error else ""
    return ""
