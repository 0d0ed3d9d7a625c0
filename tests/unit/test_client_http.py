"""The HTTP client against a scripted server: what it sends, what it makes of each answer, what it repeats."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pman_client import BadRequest, FieldError, Job, JobConflict, JobSubmission, NotFound, PmanClient, PmanUnavailable
from pman_client import client as client_module
from pman_core.request import parse_request
from testbed.ports import free_port

RECORD = {
    "jid": "j1",
    "image": "img",
    "cmd": "sh -c 'true'",
    "status": "notstarted",
    "message": "",
    "timestamp": "",
    "logs": "",
    "state": "QUEUED",
    "reason": "",
    "exit_code": None,
    "native_state": "",
    "created_at": "2026-01-02T03:04:05.000+00:00",
    "started_at": None,
    "finished_at": None,
    "generation": "01abc",
    "attempts": 0,
    "a_key_of_tomorrow": {"x": 1},
}
DONE = RECORD | {"status": "finishedSuccessfully", "state": "SUCCEEDED", "exit_code": 0}
SUBMISSION = JobSubmission(jid="j1", image="img", entrypoint=["sh"], args=["-c", "true"], input_dir="i", output_dir="o")


@dataclass
class Script:
    """What the server answers, in order (the last answer for ever), and what it was asked."""

    url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            script.asked.append((self.command, self.path, body))
            status, answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            if status == 503:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(0 if status == 204 else len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[PmanClient]:
    monkeypatch.setattr(client_module, "BACKOFF_S", 0.0)
    with PmanClient(script.url + "/", timeout_s=5, retries=2) as client:
        yield client


def test_submit_sends_the_wire_names_and_returns_the_record(script: Script, client: PmanClient) -> None:
    script.answers = [(201, RECORD | {"warnings": ["x: unknown key, ignored"]})]
    job = client.submit(SUBMISSION)
    assert script.asked == [
        (
            "POST",
            "/api/v1/",
            {
                "jid": "j1",
                "image": "img",
                "entrypoint": ["sh"],
                "args": ["-c", "true"],
                "args_path_flags": [],
                "input_dir": "i",
                "output_dir": "o",
                "type": "ds",
                "env": [],
                "auid": "pman-client",
                "number_of_workers": 1,
                "cpu_limit": 1000,
                "memory_limit": 512,
                "gpu_limit": 0,
            },
        )
    ]
    assert (job.jid, job.state, job.exit_code) == ("j1", "QUEUED", None)
    assert job.warnings == ("x: unknown key, ignored",)
    assert job.created_at is not None
    assert job.created_at.tzinfo is not None


def test_the_submission_is_what_the_core_accepts() -> None:
    request = parse_request(SUBMISSION.to_wire())
    assert (request.cpu_millicores, request.memory_mib, request.gpus) == (1000, 512, 0)
    assert request.time_limit_minutes is None
    assert parse_request(replace(SUBMISSION, time_limit_minutes=90).to_wire()).time_limit_minutes == 90


def test_a_jid_is_quoted_in_the_path(script: Script, client: PmanClient) -> None:
    script.answers = [(200, RECORD)]
    client.get("a/b?c")
    assert script.asked == [("GET", "/api/v1/a%2Fb%3Fc/", None)]


def test_delete_list_info_and_ready_ask_the_right_places(script: Script, client: PmanClient) -> None:
    script.answers = [(204, ""), (200, {"jobs": [RECORD], "next": "c2"}), (200, {"jobs": [], "next": None}), (200, {})]
    client.delete("j1")
    page = client.list(limit=1)
    assert [job.jid for job in page.jobs] == ["j1"]
    assert client.list(limit=1, cursor=page.next_cursor).next_cursor == ""
    assert client.info() == {}
    assert client.ready()
    assert [asked[:2] for asked in script.asked] == [
        ("DELETE", "/api/v1/j1/"),
        ("GET", "/jobs/?limit=1"),
        ("GET", "/jobs/?limit=1&cursor=c2"),
        ("GET", "/api/v1/"),
        ("GET", "/ready/"),
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (409, JobConflict),
        (400, BadRequest),
        (413, BadRequest),
        (415, BadRequest),
        (500, PmanUnavailable),
    ],
)
def test_each_error_has_its_type(script: Script, client: PmanClient, status: int, error: type[Exception]) -> None:
    script.answers = [(status, {"message": "the reason"})]
    with pytest.raises(error, match="the reason"):
        client.get("j1")
    assert len(script.asked) == 1


def test_a_bad_request_names_every_fault(script: Script, client: PmanClient) -> None:
    faults = [{"field": "image", "message": "is required"}, {"field": "cpu_limit", "message": "must be at least 1"}]
    script.answers = [(400, {"message": "image: ...", "errors": faults})]
    with pytest.raises(BadRequest, match="cpu_limit: must be at least 1") as caught:
        client.submit(SUBMISSION)
    assert caught.value.errors[0] == FieldError("image", "is required")


@pytest.mark.parametrize("call", ["submit", "get", "delete"])
def test_503_is_asked_again_whatever_the_method(script: Script, client: PmanClient, call: str) -> None:
    script.answers = [(503, {"message": "not now"}), (503, "<html>"), (200, RECORD)]
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: client.submit(SUBMISSION),
        "get": lambda: client.get("j1"),
        "delete": lambda: client.delete("j"),
    }
    calls[call]()
    assert len(script.asked) == 3
    assert script.asked[0] == script.asked[2]


def test_503_for_too_long_is_unavailable(script: Script, client: PmanClient) -> None:
    script.answers = [(503, {"message": "the store does not answer"})]
    with pytest.raises(PmanUnavailable, match="the store does not answer"):
        client.get("j1")
    assert len(script.asked) == 3


@pytest.mark.parametrize("answer", ["<html>hello</html>", [1, 2], {"jid": "j1"}, DONE | {"created_at": "yesterday"}])
def test_an_answer_that_is_no_record_is_unavailable(script: Script, client: PmanClient, answer: object) -> None:
    script.answers = [(200, answer)]
    with pytest.raises(PmanUnavailable, match="does not answer as pman does"):
        client.get("j1")


def test_a_list_that_is_none_is_unavailable(script: Script, client: PmanClient) -> None:
    script.answers = [(200, {"items": []})]
    with pytest.raises(PmanUnavailable):
        client.list()


def test_nobody_there_is_told_in_two_words() -> None:
    with PmanClient(f"http://127.0.0.1:{free_port()}", retries=0) as client:
        with pytest.raises(PmanUnavailable, match="connection refused"):
            client.get("j1")
        assert not client.ready()


def test_watch_yields_changes_only_and_ends_with_the_job(script: Script, client: PmanClient) -> None:
    running = RECORD | {"status": "started", "state": "RUNNING"}
    script.answers = [(200, RECORD), (200, RECORD), (200, running), (200, running), (200, DONE)]
    assert [job.state for job in client.watch("j1", poll_s=0)] == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_wait_outlasts_a_pman_that_is_away(script: Script, client: PmanClient) -> None:
    script.answers = [(500, {}), (200, RECORD), (500, {}), (200, DONE)]
    assert client.wait("j1", poll_s=0).has_succeeded


def test_wait_gives_up_after_its_patience(script: Script, client: PmanClient) -> None:
    script.answers = [(500, {})]
    with pytest.raises(PmanUnavailable):
        client.wait("j1", poll_s=0, patience_s=0)


def test_undefined_is_an_end() -> None:
    job = Job.from_wire(RECORD | {"status": "undefined", "state": "LOST"})
    assert job.is_finished
    assert not job.has_succeeded


def test_the_record_of_the_old_pman_is_enough() -> None:
    old = {key: RECORD[key] for key in ("jid", "image", "cmd", "status", "message", "timestamp", "logs")}
    job = Job.from_wire(old | {"timestamp": "2026-01-02T03:04:05+00:00"})
    assert job.label == "notstarted"
    assert job.finished_at is not None
