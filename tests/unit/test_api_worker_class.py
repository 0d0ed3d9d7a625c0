"""What gunicorn cannot read is answered as every other error is, and never looks like a fault of the server."""

import json

import pytest
from gunicorn.http import errors

from pman_api.worker_class import DETAIL_CHARS_MAX, fault_status, to_reply


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestLine("GET"), 400),
        (errors.InvalidHeaderName("a b"), 400),
        (errors.UnsupportedTransferCoding("br"), 400),
        (errors.LimitRequestLine(5000, 4094), 414),
        (errors.LimitRequestHeaders("limit"), 431),
        (errors.ConfigurationProblem("x"), 500),
        (ZeroDivisionError(), 500),
    ],
)
def test_the_status_of_a_fault(error: Exception, status: int) -> None:
    assert fault_status(error) == status


def test_the_reply_is_a_problem_and_ends_the_connection() -> None:
    head, _, body = to_reply(400, "Invalid HTTP Header: '\x00é\r\nX: y'", "abc").decode("ascii").partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    assert status == "HTTP/1.1 400 Bad Request"
    assert dict(header.split(": ") for header in headers) == {
        "Connection": "close",
        "X-Request-ID": "abc",
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
    }
    problem = json.loads(body)
    assert (problem["status"], problem["request_id"]) == (400, "abc")
    assert problem["message"] == problem["detail"] == "Invalid HTTP Header: '\x00é\r\nX: y'"


def test_a_long_detail_is_cut() -> None:
    _, _, body = to_reply(414, "x" * 10_000, "abc").partition(b"\r\n\r\n")
    assert len(json.loads(body)["message"]) == DETAIL_CHARS_MAX
