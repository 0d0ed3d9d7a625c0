"""Errors and names of requests: every failure is a problem with a message for old clients, and is found in the log."""

import logging

import pytest
from werkzeug.exceptions import ImATeapot

from pman_api.request_ids import RequestIdFilter
from tests.unit.api_harness import PFCON_BODY, REQUEST_ID, Harness

JID = PFCON_BODY["jid"]
MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "message"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/"),
        ("GET", f"/api/v1/{JID}/"),
        ("DELETE", f"/api/v1/{JID}/"),
        ("GET", "/jobs/"),
        ("GET", "/ready/"),
    ],
)
def test_without_the_store_every_call_is_a_503_that_says_when_to_come_back(method: str, path: str) -> None:
    harness = Harness()
    harness.store.away = {"all"}
    reply = harness.http.open(path, method=method, json=PFCON_BODY if method == "POST" else None)
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert reply.get_json().keys() == MEMBERS
    assert not harness.publisher.sent


def test_when_the_store_is_back_so_are_we() -> None:
    harness = Harness()
    harness.store.away = {"all"}
    assert harness.post().status_code == 503
    harness.store.away = set()
    assert harness.post().status_code == 201


@pytest.mark.parametrize("method", ["create", "report"])
def test_a_defect_is_a_500_and_the_log_names_job_and_request(method: str, caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness()
    harness.store.away = {method}
    harness.store.fault = ZeroDivisionError("secret of the defect")
    with caplog.at_level(logging.ERROR):
        reply = harness.post()
    assert reply.status_code == 500
    assert reply.get_json().keys() == MEMBERS
    assert "secret" not in reply.text
    assert reply.headers["X-Request-ID"] == REQUEST_ID
    assert f"jid={JID}" in caplog.text
    assert "ZeroDivisionError: secret of the defect" in caplog.text


def test_a_path_can_not_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness()
    harness.store.away = {"page"}
    harness.store.fault = ZeroDivisionError("defect")
    with caplog.at_level(logging.ERROR):
        harness.http.get("/jobs/%0Aforged?x")
        harness.http.get("/jobs/?cursor=%0Aforged")
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_a_status_without_a_row_of_its_own_is_a_problem_too() -> None:
    harness = Harness()
    harness.store.away = {"read"}
    harness.store.fault = ImATeapot("short and stout")
    reply = harness.get()
    assert (reply.status_code, reply.get_json()["detail"]) == (418, "short and stout")


def test_the_path_of_a_problem_is_a_valid_uri_reference() -> None:
    assert Harness().get("a%20b%0A%C3%BC").get_json()["instance"] == "/api/v1/a%20b%0A%C3%BC/"


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 128])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert Harness().http.get("/health/", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", "ü", "<script>"])
def test_any_other_is_replaced_by_a_new_one(given: str) -> None:
    http = Harness().app.test_client()
    minted = {http.get("/health/", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(3)}
    assert len(minted) == 3
    assert given not in minted


def test_every_reply_names_its_request() -> None:
    harness = Harness()
    for reply in (harness.post(), harness.get(), harness.get("unknown"), harness.delete(), harness.http.put("/jobs/")):
        assert reply.headers["X-Request-ID"] == REQUEST_ID


def test_log_lines_carry_the_request_id_inside_of_requests_only(caplog: pytest.LogCaptureFixture) -> None:
    seen = RequestIdFilter()
    caplog.handler.addFilter(seen)
    with caplog.at_level(logging.INFO):
        Harness().post()
        logging.getLogger("elsewhere").info("outside")
    caplog.handler.removeFilter(seen)
    assert {record.name: record.request_id for record in caplog.records} == {  # type: ignore[attr-defined]
        "pman_api.jobs": REQUEST_ID,
        "elsewhere": "-",
    }


def test_no_setting_but_the_two_named_ones_is_shown() -> None:
    harness = Harness(storebase="/secret/base", nfs_server="secret.example")
    assert "secret" not in harness.http.get("/api/v1/").text
