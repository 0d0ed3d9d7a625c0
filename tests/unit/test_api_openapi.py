"""The OpenAPI document is true: it has the routes of the app, its schemas accept every golden reply and nothing
unsaid in one, and they judge the corpus of bodies as the API does, as far as JSON Schema can.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from pman_api.openapi import document
from pman_core import __version__
from tests.unit.api_harness import PFCON_BODY, Harness
from tests.unit.bad_bodies import BAD_BODIES, BadBody

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "api").glob("*.json"))
DOCUMENT = document()

BEYOND_JSON_SCHEMA = {
    "half a surrogate pair is text to JSON Schema": "(args|dir).*half-surrogate",
    "1.0 and 1e3 are whole numbers to JSON Schema": "whole-float|exponent",
    "a pattern of digits has no upper bound": "too-big-string",
    "the $ of Python, in which this test runs, matches before a newline at the end": "jid-newline",
}
"""Why some bad bodies pass the schema all the same; the description of the field says it in words."""


def closed(schema: Any) -> Any:
    """Return ``schema`` with every object that names its properties closed to others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in schema and "type" in schema else inner


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    components = closed(DOCUMENT["components"])
    return Draft202012Validator({**schema, "components": components}, format_checker=FormatChecker())


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def find_operation(method: str, path: str) -> dict[str, Any] | None:
    for candidate, template, operation in operations():
        pattern = re.escape(template).replace(r"\{jid\}", "[^/].*?")
        if method == candidate and re.fullmatch(pattern, path):
            return operation
    return None


def test_it_is_a_valid_document() -> None:
    OpenAPIV31SpecValidator(copy.deepcopy(DOCUMENT)).validate()


def test_it_is_served_whole() -> None:
    reply = Harness().http.get("/openapi.json")
    assert (reply.status_code, reply.content_type) == (200, "application/json")
    assert reply.get_json() == json.loads(json.dumps(DOCUMENT))
    assert reply.get_json()["info"]["version"] == __version__


def test_it_needs_no_store() -> None:
    harness = Harness()
    harness.store.away = {"all"}
    assert harness.http.get("/openapi.json").status_code == 200


def test_every_route_is_in_it_and_nothing_else_is() -> None:
    routes = {
        (method, re.sub(r"<jid:raw_jid>$", "{jid}/", rule.rule), rule.endpoint)
        for rule in Harness().app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == {(method, path, operation["operationId"]) for method, path, operation in operations()}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in GOLDEN])
def test_every_golden_reply_is_in_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    method, _, place = golden["request"].partition(" ")
    operation = find_operation(method, place)
    if operation is None:
        assert golden["status"] in {404, 405}
        validator({"$ref": "#/components/schemas/Problem"}).validate(golden["body"])
        return
    reply = operation["responses"][str(golden["status"])]
    headers = golden["headers"]
    assert headers.keys() - {"Content-Type"} == reply["headers"].keys()
    if golden["body"] is None:
        assert "content" not in reply
        return
    body = json.loads(json.dumps(golden["body"]).replace("<generation>", "0" * 26))
    validator(reply["content"][headers["Content-Type"]]["schema"]).validate(body)


def test_every_reply_in_it_has_a_golden_one() -> None:
    """But for what every operation may answer: 500, and 503 where the store is asked."""
    seen = {(golden["request"].split(" ")[0], golden["status"]) for golden in map(read, GOLDEN)}
    told = {(method, int(status)) for method, _, operation in operations() for status in operation["responses"]}
    assert told - seen <= {("POST", 500), ("DELETE", 500)}


def read(path: Path) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(path.read_text())
    return golden


REQUEST = Draft202012Validator(DOCUMENT["components"]["schemas"]["JobRequest"])


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BAD_BODIES if bad.status == 400])
def test_a_bad_body_is_bad_to_the_schema(bad: BadBody) -> None:
    try:
        body = json.loads(bad.raw.decode(), object_pairs_hook=unambiguous, parse_constant=refuse)
    except (ValueError, RecursionError):
        return  # no JSON to begin with
    unsayable = any(re.search(names, bad.name) for names in BEYOND_JSON_SCHEMA.values())
    assert REQUEST.is_valid(body) == unsayable
    if not unsayable and isinstance(body, dict):
        fields = {str(error.absolute_path[0]) for error in REQUEST.iter_errors(body) if error.absolute_path}
        missing = {field for field in REQUEST.schema["required"] if field not in body}
        assert bad.field.split("[")[0] in fields | missing


def refuse(constant: str) -> None:
    raise ValueError(constant)


def unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key given twice")
    return dict(pairs)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as-pfcon-sends-it"),
        pytest.param({"number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 200, "gpu_limit": 0}, id="numbers"),
        pytest.param({"cpu_limit": "0001000", "gpu_limit": "00"}, id="leading-zeros"),
        pytest.param({"args": None, "args_path_flags": None, "env": None}, id="lists-null"),
        pytest.param({"jid": "/a-b_c.d~e/"}, id="jid-slashes"),
        pytest.param({"jid": "..."}, id="jid-of-dots"),
        pytest.param({"jid": "a" * 253}, id="longest-jid"),
        pytest.param({"input_dir": "/a/b/", "output_dir": "//c//"}, id="path-slashes"),
        pytest.param({"input_dir": "a/..b/c..", "output_dir": "a/.../b"}, id="dots-in-names"),
        pytest.param({"output_dir": "a/.pman", "input_dir": ".pman2/x"}, id="control-folder-of-somebody-else"),
        pytest.param({"auid": "", "args": ["", "a\nb", "ü"]}, id="odd-texts"),
        pytest.param({"env": ["A=", "B=x=y", "C D=\n"]}, id="env-values"),
        pytest.param({"entrypoint": [" x", ""]}, id="entrypoint"),
        pytest.param({"image": "registry.example:5000/a/b@sha256:" + "0" * 64}, id="image-digest"),
        pytest.param({"zeta": {"deep": [1]}}, id="unknown-keys"),
    ],
)
def test_a_good_body_is_good_to_both(changes: dict[str, Any]) -> None:
    body = {**PFCON_BODY, **changes}
    REQUEST.validate(body)
    assert Harness().post(body).status_code == 201
