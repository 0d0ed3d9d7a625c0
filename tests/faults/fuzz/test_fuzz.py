"""A short campaign for CI, and the harness itself: it must see what it is there to see."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.fuzz import campaign, exchange, sentinels
from tests.faults.fuzz.client import Client
from tests.faults.fuzz.exchange import Shot, fire
from tests.faults.fuzz.sentinels import Snapshot

SEED = 20_261_125
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-ID: a\r\n\r\n{}"
PROBLEM = b"HTTP/1.1 400 Bad\r\nContent-Type: application/problem+json\r\nContent-Length: 32\r\nX-Request-ID: a\r\n\r\n"
PROBLEM += b'{"status": 400, "message": "no"}'
DEFECT = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nX-Request-ID: a\r\n\r\n"
HTML = b"HTTP/1.1 400 Bad\r\nContent-Type: text/html\r\nContent-Length: 2\r\nX-Request-ID: a\r\n\r\n<>"
MADE = b'HTTP/1.1 201 Created\r\nContent-Length: 12\r\nX-Request-ID: a\r\n\r\n{"jid": "x"}'


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    outcome = campaign.run(tmp_path / "pman", requests=3_000, seed=SEED, clients=2)
    assert outcome.report.faults == [], f"seed {SEED}"
    assert outcome.report.requests >= 3_000
    statuses = {status for _, status in outcome.report.replies}
    assert statuses >= {200, 201, 204, 400, 404, 405, 409, 413, 414, 415, 417, 431}
    assert outcome.jobs > 100


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], int]]:
    """Return a function that starts a server with one reply to everything, and returns its port."""
    has_enough = threading.Event()
    started: list[tuple[threading.Thread, socket.socket]] = []

    def start(reply: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(reply)
                if reply:
                    client.shutdown(socket.SHUT_WR)
                has_enough.wait(10)

        thread = threading.Thread(target=answer)
        thread.start()
        started.append((thread, server))
        return int(server.getsockname()[1])

    yield start
    has_enough.set()
    for thread, server in started:
        thread.join()
        server.close()


@pytest.mark.parametrize(
    ("reply", "shot", "fault"),
    [
        pytest.param(OK, Shot("x", b"y"), "", id="good"),
        pytest.param(PROBLEM, Shot("x", b"y"), "", id="problem"),
        pytest.param(OK + OK, Shot("x", b"y"), "2 replies", id="a-reply-too-many"),
        pytest.param(OK[:-1], Shot("x", b"y"), "not a whole reply", id="half-a-reply"),
        pytest.param(b"hello\r\n", Shot("x", b"y"), "not a whole reply", id="no-http"),
        pytest.param(DEFECT, Shot("x", b"y"), "500", id="defect"),
        pytest.param(HTML, Shot("x", b"y"), "no problem", id="html"),
        pytest.param(OK.replace(b"X-Request", b"Y"), Shot("x", b"y"), "another request", id="without-a-name"),
        pytest.param(OK, Shot("x", b"y", request_id="b"), "another request", id="another-name"),
        pytest.param(MADE, Shot("x", b"y"), "a job was made", id="a-job"),
        pytest.param(MADE, Shot("x", b"y", may_create=True), "", id="a-job-in-order"),
        pytest.param(b"", Shot("x", b"y"), "it hangs", id="silence"),
    ],
)
def test_what_is_wrong_with_a_reply_is_seen(
    serve: Callable[[bytes], int], reply: bytes, shot: Shot, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reply:  # only who waits for nothing need not be patient
        monkeypatch.setattr(exchange, "HANG_S", 0.2)
    client = Client(serve(reply), "a", seed=1)
    client.judge(shot)
    client.close()
    assert [fault in found for found in client.report.faults] == ([True] if fault else []), client.report.faults


def test_every_reply_of_a_connection_is_read(serve: Callable[[bytes], int]) -> None:
    assert [reply.status for reply in fire(serve(OK + DEFECT + OK), Shot("x", b"y"))] == [200, 500, 200]


@pytest.mark.parametrize(
    ("target", "is_named"),
    [
        ("/api/v1/sentinel-running", True),
        ("/api/v1/sentinel-running/", True),
        ("/api/v1//sentinel-running//?x#y", True),
        ("/api/v1/%73entinel-running%2F", True),
        ("/api/v1/sentinel-deleted#x", True),
        ("/api/v1/x/../sentinel-running", False),
        ("/api/v1/./sentinel-running", False),
        ("/api/v1/sentinel-running%00", False),
        ("/api/v1/sentinel-running%3Fx", False),
        ("/api/v1/SENTINEL-running", False),
    ],
)
def test_a_sentinel_is_only_named_by_its_name(target: str, is_named: bool) -> None:
    assert sentinels.is_named_by(target) == is_named


def test_a_sentinel_that_has_changed_is_named() -> None:
    before = Snapshot({"job:a": {"state": "RUNNING"}}, {"running:mock": {"a": 1.0}}, {"a": (200, "x")}, {"g": "job"})
    after = Snapshot({"job:a": {"state": "LOST"}}, {"running:mock": {}}, {"a": (404, "")}, {})
    assert before.changes(before) == []
    assert [what.split(":")[0] for what in before.changes(after)] == [
        "Redis of job",
        "index of running",
        "GET of a",
        "native object of g",
    ]
