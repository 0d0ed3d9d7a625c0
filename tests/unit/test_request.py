"""The body of a POST: what is the same request however it is spelled, what is another one, and what is none."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pman_core.errors import InvalidRequest
from pman_core.job import JobSpec, mint_generation, native_name, stable_choice
from pman_core.request import LIMIT_MAX, JobRequest, normalize_jid, parse_request, unknown_keys

BODY: dict[str, Any] = {
    "jid": "chris-jid-1",
    "args": ["--in", "x"],
    "args_path_flags": ["--in", "--also"],
    "auid": "cube",
    "number_of_workers": 1,
    "cpu_limit": 1000,
    "memory_limit": 200,
    "gpu_limit": 0,
    "image": "fnndsc/pl-simplefsapp",
    "entrypoint": ["simplefsapp"],
    "type": "ds",
    "env": ["A=1"],
    "input_dir": "key/incoming",
    "output_dir": "key/outgoing",
}


def digest(**fields: Any) -> str:
    return parse_request(BODY | fields).digest


def faults_of(body: object) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(body)
    return {fault.field: fault.message for fault in refused.value.faults}


# Equal and unequal


@pytest.mark.parametrize(
    "spelled",
    [
        {"cpu_limit": "1000", "memory_limit": "200", "number_of_workers": "1", "gpu_limit": "0"},
        {"cpu_limit": "0001000"},
        {"jid": "/chris-jid-1/", "input_dir": "/key/incoming/", "output_dir": "//key/outgoing//"},
        {"input_dir": "key//./incoming"},
        {"args_path_flags": ["--also", "--in"]},
        {"args_path_flags": ["--in", "--also", "--in"]},
        {"unknown": {"deep": [1]}, "selfmade": None},
    ],
)
def test_another_spelling_is_the_same_request(spelled: dict[str, Any]) -> None:
    assert digest(**spelled) == digest()


@pytest.mark.parametrize("name", ["args", "args_path_flags", "env"])
def test_what_may_be_left_out_is_an_empty_list(name: str) -> None:
    absent = {key: value for key, value in BODY.items() if key != name}
    assert parse_request(absent).digest == digest(**{name: []}) == digest(**{name: None}) != digest()


@pytest.mark.parametrize(
    "other",
    [
        {"jid": "chris-jid-2"},
        {"args": ["x", "--in"]},
        {"args": ["--in", "x", ""]},
        {"args_path_flags": ["--in"]},
        {"auid": "chris"},
        {"number_of_workers": 2},
        {"cpu_limit": 1001},
        {"memory_limit": 201},
        {"gpu_limit": 1},
        {"image": "fnndsc/pl-simplefsapp:latest"},
        {"entrypoint": ["simplefsapp", ""]},
        {"type": "fs"},
        {"env": ["A=1", "B="]},
        {"env": ["A=2"]},
        {"input_dir": "key/in"},
        {"output_dir": "key/out"},
        {"time_limit": 1},
    ],
)
def test_another_value_is_another_request(other: dict[str, Any]) -> None:
    assert digest(**other) != digest()


def test_every_field_of_the_wire_counts() -> None:
    assert set(json.loads(parse_request(BODY).canonical)) == set(BODY)


def test_the_canonical_form_does_not_change_between_releases() -> None:
    """Records and native objects carry this digest: another form would make strangers of them."""
    assert digest() == "3810a145a2a5ccf5b548f41aceb1c7180e85156f1064848346cca20814c9688c"


def test_a_time_limit_is_an_addition_that_changes_nothing_where_it_is_absent() -> None:
    assert digest(time_limit=None) == digest()
    assert "time_limit" not in parse_request(BODY | {"time_limit": None}).canonical
    assert digest(time_limit="0090") == digest(time_limit=90) != digest(time_limit=91)
    asked = parse_request(BODY | {"time_limit": 90})
    assert JobRequest.from_canonical(asked.canonical) == asked
    assert JobRequest.from_canonical(parse_request(BODY).canonical).time_limit_minutes is None


@pytest.mark.parametrize("value", [0, -1, 1.5, "1.5", "", True, [], LIMIT_MAX + 1])
def test_a_time_limit_that_is_none_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(BODY | {"time_limit": value})
    assert [fault.field for fault in refused.value.faults] == ["time_limit"]


def test_unknown_keys_are_named_and_names_of_the_code_are_unknown() -> None:
    assert unknown_keys(BODY | {"b": 1, "a": 1, "cpu_millicores": 1}) == ["a", "b", "cpu_millicores"]
    assert digest(cpu_millicores=5) == digest()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
requests = st.builds(
    lambda **fields: parse_request(BODY | fields),
    args=st.lists(texts, max_size=5),
    args_path_flags=st.lists(texts, max_size=4),
    auid=texts,
    cpu_limit=st.integers(1, LIMIT_MAX).flatmap(lambda n: st.sampled_from([n, str(n)])),
    entrypoint=st.lists(texts, min_size=1, max_size=3).filter(lambda program: program[0].strip()),
    env=st.lists(st.builds("{}={}".format, texts.filter(lambda name: name and "=" not in name), texts), max_size=3),
    type=st.sampled_from(["ds", "fs", "ts"]),
)


@given(requests)
@settings(deadline=None, max_examples=60)
def test_a_request_comes_back_from_its_canonical_form(request: JobRequest) -> None:
    again = JobRequest.model_validate_json(request.canonical)
    assert JobRequest.from_canonical(request.canonical) == request
    assert JobRequest.from_canonical(request.canonical).canonical == request.canonical
    assert again == request
    assert again.digest == request.digest
    assert parse_request(json.loads(request.canonical)).canonical == request.canonical


@given(requests)
@settings(deadline=None, max_examples=30)
def test_a_spec_comes_back_from_what_a_native_object_carries(request: JobRequest) -> None:
    spec = JobSpec(mint_generation(), "pman", request)
    again = JobSpec.from_json(spec.to_json())
    assert (again, again.argv, again.env) == (spec, spec.argv, spec.env)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 2}', "null", '{"v": 1'])
def test_what_is_no_spec_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        JobSpec.from_json(text)


# Faults


def test_every_fault_is_named_at_once() -> None:
    found = faults_of({"jid": "a b", "cpu_limit": "x", "env": ["A=1", "B"], "entrypoint": [], "output_dir": "../x"})
    assert {"jid", "cpu_limit", "env[1]", "entrypoint", "output_dir", "image", "type", "auid"} <= set(found)
    assert found["image"] == "is required"


@pytest.mark.parametrize("body", [None, [], "text", 1, True])
def test_a_body_is_an_object(body: object) -> None:
    assert faults_of(body) == {"body": "must be a JSON object"}


@pytest.mark.parametrize("path", ["", "/", ".", "./.", "..", "a/../b", "../a", ".pman", "/.pman/x", "a\0b", 5, None])
@pytest.mark.parametrize("name", ["input_dir", "output_dir"])
def test_a_path_stays_below_the_store_base(name: str, path: object) -> None:
    assert set(faults_of(BODY | {name: path})) == {name}


@pytest.mark.parametrize("path", ["a..b/c", "...", ".hidden", "a b", "é/€", "-x"])
def test_an_odd_path_is_a_path(path: str) -> None:
    assert parse_request(BODY | {"output_dir": path}).output_dir == path


@pytest.mark.parametrize("jid", ["a", "A.b_c~d-1", "x" * 253, "...", "-a"])
def test_a_jid_may_be_written_with_slashes_around_it(jid: str) -> None:
    assert normalize_jid(f"/{jid}//") == jid


@pytest.mark.parametrize("jid", ["", "/", ".", "..", "a/b", "a b", "é", "x" * 254, "a\n", "a%20b"])
def test_what_is_no_jid_is_refused(jid: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 253 characters"):
        normalize_jid(jid)


# What is derived from a jid


@pytest.mark.parametrize("jid", ["a", "chris-jid-1", "UPPER_case.~", "~~~", "x" * 253, "-a-", "9", "a" * 30 + "--b"])
def test_a_native_name_is_a_dns_label_and_unique_by_its_generation(jid: str) -> None:
    generation = mint_generation()
    name = native_name(jid, generation)
    assert len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name.startswith("pman-")
    assert name.endswith(f"-{generation}")
    assert "--" not in name


def test_a_generation_is_later_than_the_one_it_follows() -> None:
    first = mint_generation()
    assert len(first) == 26
    assert mint_generation(not_before=first) > first
    far = "7" + "0" * 9 + "z" * 16
    assert mint_generation(not_before=far) > far


def test_a_choice_is_the_same_at_every_try_and_within_its_range() -> None:
    chosen = {stable_choice(f"job-{n}", 1000, 1003) for n in range(100)}
    assert chosen == {1000, 1001, 1002, 1003}
    assert stable_choice("job", 0, 10**6) == stable_choice("job", 0, 10**6)
    assert stable_choice("job", 7, 7) == 7


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", ".", "..", "", ".pman", "b c", "é"]), min_size=1, max_size=6))
def test_a_path_that_is_taken_is_taken_again_and_stays_what_it_is(parts: list[str]) -> None:
    try:
        request = parse_request(BODY | {"output_dir": "/".join(parts)})
    except InvalidRequest:
        return
    assert request.output_dir.split("/")[0] != ".pman"
    assert parse_request(json.loads(request.canonical)) == request
