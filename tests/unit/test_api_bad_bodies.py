"""Bad input: named, refused, and nothing of it stays. Good input in odd spellings: accepted."""

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.api_harness import PFCON_BODY, Harness
from tests.unit.bad_bodies import BAD_BODIES, BadBody

LARGE = json.dumps({**PFCON_BODY, "args": ["a" * 100_000]}).encode()
PADDED = LARGE + b" " * (1024 * 1024 - len(LARGE))
"""A good body of exactly the length that is allowed."""


@pytest.fixture(scope="module")
def untouched() -> Harness:
    """One app for all bodies that leave nothing."""
    return Harness()


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BAD_BODIES])
def test_a_bad_body_is_refused_by_name_and_leaves_nothing(untouched: Harness, bad: BadBody) -> None:
    reply = untouched.http.post("/api/v1/", data=bad.raw, content_type=bad.content_type)
    problem = json.loads(reply.data)
    assert (reply.status_code, problem["status"]) == (bad.status, bad.status)
    assert reply.content_type == "application/problem+json"
    if bad.field:
        assert bad.field in [error["field"] for error in problem["errors"]]
        assert bad.field in problem["message"]
    assert isinstance(problem["message"], str)
    assert problem["message"]
    assert untouched.is_untouched()


def test_the_corpus_has_no_double() -> None:
    assert len({bad.name for bad in BAD_BODIES}) == len(BAD_BODIES) >= 60
    assert len({(bad.raw, bad.content_type) for bad in BAD_BODIES}) == len(BAD_BODIES)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(PADDED, 201, id="as-long-as-allowed"),
        pytest.param(PADDED + b" ", 413, id="a-byte-longer"),
        pytest.param(PADDED * 20, 413, id="much-longer"),
        pytest.param(b"", 400, id="empty"),
    ],
)
def test_a_chunked_body_is_measured_too(raw: bytes, status: int) -> None:
    """Cut off at the limit, the white space would go unnoticed."""
    reply = Harness().http.post(
        "/api/v1/",
        input_stream=BytesIO(raw),
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert reply.status_code == status


def test_a_body_that_ends_too_soon_is_refused_even_if_it_is_whole_json() -> None:
    harness = Harness()
    raw = json.dumps(PFCON_BODY).encode()
    reply = harness.http.post(
        "/api/v1/",
        input_stream=BytesIO(raw),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": str(len(raw) + 1)},
    )
    assert (reply.status_code, harness.is_untouched()) == (400, True)
    message = f"ends after {len(raw)} of {len(raw) + 1} bytes"
    assert reply.get_json()["errors"] == [{"field": "body", "message": message}]


def test_all_faults_are_named_at_once() -> None:
    reply = Harness().post(jid="a b", image="", cpu_limit=-1, entrypoint=[], env=["A", "B"], output_dir="..", auid=...)
    fields = [error["field"] for error in reply.get_json()["errors"]]
    assert sorted(fields) == ["auid", "cpu_limit", "entrypoint", "env[0]", "env[1]", "image", "jid", "output_dir"]


def test_thousands_of_faults_make_a_small_reply() -> None:
    reply = Harness().post(args=[1] * 5_000)
    assert len(reply.get_json()["errors"]) == 100
    assert reply.get_json()["message"].endswith("; and 4900 more")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(PFCON_BODY)), JSON_VALUES, min_size=1, max_size=3))
def test_whatever_the_values_are_it_is_never_a_defect(changes: dict[str, Any]) -> None:
    harness = Harness()
    reply = harness.post(**changes)
    assert reply.status_code in {201, 400}
    assert harness.is_untouched() == (reply.status_code == 400)
    if reply.status_code == 400:
        named = {error["field"].split("[")[0] for error in reply.get_json()["errors"]}
        assert named <= changes.keys()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        pytest.param({"args": ...}, {}, id="args-absent"),
        pytest.param({"args": None, "args_path_flags": None, "env": None}, {}, id="lists-null"),
        pytest.param({"args_path_flags": ..., "env": ...}, {}, id="optional-absent"),
        pytest.param(
            {"number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 200, "gpu_limit": 0}, {}, id="numbers"
        ),
        pytest.param({"cpu_limit": "0001000"}, {}, id="leading-zeros"),
        pytest.param({"jid": "/a-b_c.d~e/"}, {"jid": "a-b_c.d~e"}, id="jid-slashes"),
        pytest.param({"jid": "a" * 253}, {"jid": "a" * 253}, id="longest-jid"),
        pytest.param({"input_dir": "/a/b/", "output_dir": "//c//"}, {}, id="path-slashes"),
        pytest.param({"input_dir": "a/..b/c..", "output_dir": "a/.../b"}, {}, id="dots-in-names"),
        pytest.param({"output_dir": "a/.pman"}, {}, id="control-folder-of-somebody-else"),
        pytest.param({"auid": ""}, {}, id="auid-empty"),
        pytest.param({"env": ["A=", "B=x=y"]}, {}, id="env-values"),
        pytest.param(
            {"args": ["--dir", "x"], "args_path_flags": ["--dir"]},
            {"cmd": "--dir /share/incoming /share/outgoing"},
            id="path",
        ),
        pytest.param({"args": ["", "a b", "ü"]}, {"cmd": "'' 'a b' 'ü' /share/outgoing"}, id="odd-args"),
        pytest.param({"type": "ds"}, {"cmd": "/share/incoming /share/outgoing"}, id="ds"),
        pytest.param({"image": "registry.example:5000/a/b@sha256:" + "0" * 64}, {}, id="image-digest"),
    ],
)
def test_a_good_body_is_accepted_in_any_spelling(changes: dict[str, Any], shown: dict[str, str]) -> None:
    harness = Harness()
    reply = harness.post(**changes)
    assert reply.status_code == 201
    for key, text in shown.items():
        assert reply.get_json()[key].endswith(text)
    assert len(harness.publisher.sent) == 1


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.chris+json"],
)
def test_json_may_be_called_by_any_of_its_names(content_type: str) -> None:
    reply = Harness().http.post("/api/v1/", data=json.dumps(PFCON_BODY), content_type=content_type)
    assert reply.status_code == 201


def test_a_large_argument_and_the_largest_body_are_accepted() -> None:
    assert Harness().http.post("/api/v1/", data=PADDED, content_type="application/json").status_code == 201


def test_every_key_given_twice_is_named() -> None:
    raw = json.dumps(PFCON_BODY)[:-1] + ', "jid": "second", "image": "other", "image": "third"}'
    reply = Harness().http.post("/api/v1/", data=raw, content_type="application/json")
    assert [error["field"] for error in reply.get_json()["errors"]] == ["jid", "image"]


def test_unknown_keys_are_named_and_make_no_difference() -> None:
    harness = Harness()
    first = harness.post().get_json()
    again = harness.post(zeta=1, alpha={"deep": [1]}, cpu_millicores=5)
    assert first["warnings"] == []
    assert again.status_code == 201
    assert again.get_json()["generation"] == first["generation"]
    assert again.get_json()["warnings"] == [
        "alpha: unknown key, ignored",
        "cpu_millicores: unknown key, ignored",
        "zeta: unknown key, ignored",
    ]


def test_odd_unknown_keys_make_a_small_reply() -> None:
    raw = json.dumps({**PFCON_BODY, **{f"k{n:03}": n for n in range(500)}, "\ud800": 1, "a" * 500_000: 1})
    warnings = Harness().http.post("/api/v1/", data=raw, content_type="application/json").get_json()["warnings"]
    assert len(warnings) == 21
    assert warnings[-1] == "and 482 more unknown keys, ignored"
    assert max(map(len, warnings)) < 130
