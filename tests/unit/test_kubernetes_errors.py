"""What the API server's refusals mean, on replies that a real one has given (``record_kubernetes_refusals.py``)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes.errors import (
    MESSAGE_CHARS_MAX,
    Busy,
    Doing,
    Expired,
    Forbidden,
    NameTaken,
    NotThere,
    OutOfDate,
    explain,
    scrub,
)
from backends._kubernetes.identity import SPEC
from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable
from pman_core.states import Reason

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "kubernetes" / "refusals.json").read_text()
)
SECRET = "hunter2-hunter2"
MEANINGS: dict[str, type[BackendError]] = {
    "name taken": NameTaken,
    "no right": Forbidden,
    "no such token": Unavailable,
    "quota full": Unavailable,
    "no such namespace": Unavailable,
    "namespace terminating": Unavailable,
    "name of a variable": Rejected,
    "annotations too large": Rejected,
    "body too large": Rejected,
    "unknown field": Rejected,
    "wrong type": Rejected,
    "not json": Rejected,
    "field is immutable": Unparseable,
    "out of date": OutOfDate,
    "job not there": NotThere,
    "delete, not there": NotThere,
    "list, no right": Forbidden,
    "delete, no right": Forbidden,
    "log, no such pod": NotThere,
    "log, no image": NotThere,
    "log, ended before it began": NotThere,
    "list, too old to continue": Expired,
}


def explained(name: str) -> BackendError:
    recorded = RECORDED[name]
    doing = Doing(recorded["doing"])
    return explain(doing, recorded["status"], recorded["body"].encode(), recorded["retry_after"], [SECRET])


@pytest.mark.parametrize("name", MEANINGS)
def test_what_a_real_server_has_said(name: str) -> None:
    error = explained(name)
    assert type(error) is MEANINGS[name]
    assert str(error)
    if isinstance(error, Rejected):
        assert error.reason is Reason.REJECTED


def test_every_recorded_refusal_has_a_meaning() -> None:
    assert {name for name, refusal in RECORDED.items() if refusal["doing"] != "event"} == MEANINGS.keys()


def test_a_missing_right_is_named() -> None:
    assert 'cannot create resource "jobs" in API group "batch"' in str(explained("no right"))


def test_nothing_secret_is_in_an_error() -> None:
    assert SECRET in RECORDED["field is immutable"]["body"], "else this proves nothing"
    error = explained("field is immutable")
    assert isinstance(error, Unparseable)
    assert SECRET not in f"{error} {error.raw}"
    assert "Invalid value: {...}: field is immutable" in str(error)


def status(code: int, message: str, reason: str = "") -> bytes:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message}).encode()


@pytest.mark.parametrize(
    ("doing", "code", "message", "meaning"),
    [
        ("create", 409, "Operation cannot be fulfilled on resourcequotas: please apply your changes", Unavailable),
        ("create", 403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', Rejected),
        ("create", 403, 'admission webhook "policy.example.org" denied the request: no', Rejected),
        ("create", 400, 'admission webhook "policy.example.org" denied the request', Rejected),
        ("create", 403, "is forbidden: failed quota: cpu: must specify limits.cpu for: plugin", Rejected),
        ("create", 403, "is forbidden: status unknown for quota: jobs, resources: count/jobs.batch", Unavailable),
        ("create", 403, 'jobs.batch "x" is forbidden: not yet ready to handle request', Unavailable),
        ("create", 403, "maximum cpu usage per Container is 100m, but limit is 1500m", Rejected),
        ("create", 500, 'failed calling webhook "policy.example.org": connection refused', Unavailable),
        ("create", 500, "etcdserver: request timed out", Unavailable),
        ("ask", 400, 'container "plugin" in pod "x" is terminated', NotThere),
        ("ask", 503, "apiserver is shutting down", Unavailable),
        ("change", 504, "Timeout: request did not complete within the allotted timeout", Unavailable),
        ("ask", 429, "Too many requests", Busy),
        ("ask", 403, "nothing that is known", Forbidden),
        ("ask", 410, "too old resource version", Expired),
        ("ask", 418, "I'm a teapot", Unparseable),
        ("change", 422, "is invalid", Unparseable),
        ("create", 418, "I'm a teapot", Unparseable),
    ],
)
def test_what_others_have_been_told(doing: str, code: int, message: str, meaning: type[BackendError]) -> None:
    error = explain(Doing(doing), code, status(code, message))
    assert type(error) is meaning
    assert message in str(error)


def test_a_server_that_asks_for_patience_gets_it() -> None:
    error = explain(Doing.ASK, 429, status(429, "Too many requests"), "7")
    assert isinstance(error, Busy)
    assert error.retry_after_s == 7
    told = explain(Doing.ASK, 429, json.dumps({"code": 429, "details": {"retryAfterSeconds": 3}}).encode())
    assert isinstance(told, Busy)
    assert told.retry_after_s == 3
    for body in (b"", b'{"details": [1]}', b'{"details": {"retryAfterSeconds": "soon"}}'):
        silent = explain(Doing.ASK, 429, body, "Wed, 21 Oct 2015 07:28:00 GMT" if not body else "")
        assert isinstance(silent, Busy)
        assert silent.retry_after_s == 1


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[1]", b"<html>502 Bad Gateway</html>", b'{"message": null}'])
def test_what_is_no_status_is_understood_by_its_code(body: bytes) -> None:
    assert type(explain(Doing.ASK, 502, body)) is Unavailable


@pytest.mark.parametrize("secret", ['with "quotes"', "back\\slash", "line\nbreak", "ünïcode", "<&>html", "pa$$word"])
def test_a_secret_is_struck_out_however_it_is_quoted(secret: str) -> None:
    quotes = [secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False)]
    quotes.append(re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(secret, ensure_ascii=False)))
    quotes += [quoted.replace("$", "$$") for quoted in quotes]  # as it was sent
    for quoted in quotes:
        text = scrub(f"Invalid value: {quoted}: must be ...", [secret])
        assert "***" in text
        assert json.dumps(secret)[1:-1] not in text


@pytest.mark.parametrize("secret", ['with "quotes"', "back\\slash", "line\nbreak", "ünïcode", "<&>html", "pa$$word"])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_secret_is_struck_out_of_a_job_that_is_quoted_with_its_annotations(secret: str, is_ascii: bool) -> None:
    """They hold the spec, which is JSON within JSON then. A webhook may write down what it has refused."""

    def quote(value: str) -> str:
        spec = json.dumps({"env": {"SECRET": value}})
        return json.dumps({"metadata": {"annotations": {SPEC: spec}}}, ensure_ascii=is_ascii)

    quoted = quote(secret)
    for words in (quoted, re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", quoted)):
        assert scrub(f"denied the request: {words}", [secret]) == f"denied the request: {quote('***')}"


def test_a_secret_is_struck_out_before_it_is_cut() -> None:
    text = scrub("x" * (MESSAGE_CHARS_MAX - 3) + SECRET, [SECRET, SECRET[:6]])
    assert "hun" not in text
    assert len(text) == MESSAGE_CHARS_MAX


def test_short_values_do_not_spoil_a_message() -> None:
    assert scrub("1 of 1", ["1", ""]) == "1 of 1"


def test_a_word_that_says_yes_or_no_is_no_secret() -> None:
    """What Pod Security refuses is told with such words."""
    text = "allowPrivilegeEscalation != false, runAsNonRoot != true"
    assert scrub(text, ["false", "true", "True", "none", "null"]) == text


def test_a_secret_is_struck_out_of_a_long_page_of_a_proxy_before_it_is_cut() -> None:
    """What is struck out makes room for what comes after it, which must not be half a secret."""
    long = SECRET * 200
    assert SECRET not in str(explain(Doing.CREATE, 502, f"{long} {long} {long}".encode(), secrets=[long]))
