"""What is said on the wire, and what becomes of a call that is not answered as it should be."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from backends._cromwell.client import BODY_BYTES_MAX, IDS_MAX, Client, without_password
from backends._cromwell.errors import IdTaken, NotInProgress, NotThere
from pman_core.errors import Rejected, Unavailable, Unparseable
from tests.unit.cromwell_server import SUBMITTED, Scripted, serving


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serving(Scripted()) as scripted:
        yield scripted


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with closing(Client(f"{server.url}/", timeout_s=5)) as made:
        yield made


def test_a_submit_is_one_form_of_plain_parts(client: Client, server: Scripted) -> None:
    server.says("POST", "/v1", SUBMITTED)
    client.submit({"workflowSource": "version 1.0", "labels": "{}", "requestedWorkflowId": "x"})
    _, path, body = server.asked[-1]
    assert path == "/api/workflows/v1"
    assert b'Content-Disposition: form-data; name="workflowSource"\r\n\r\nversion 1.0\r\n' in body
    assert b"filename" not in body


def test_exactly_as_much_as_cromwell_takes_is_sent(client: Client, server: Scripted) -> None:
    server.says("POST", "/v1", SUBMITTED)
    client.submit({"requestedWorkflowId": "x", "a": ""})
    around = len(server.asked[-1][2])
    client.submit({"requestedWorkflowId": "x", "a": "x" * (BODY_BYTES_MAX - around)})
    assert len(server.asked[-1][2]) == BODY_BYTES_MAX
    with pytest.raises(Rejected):
        client.submit({"requestedWorkflowId": "x", "a": "x" * (BODY_BYTES_MAX - around + 1)})


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>Sign in</html>", '{"id": "another", "status": "Submitted"}'])
def test_a_submit_is_done_when_cromwell_has_said_so(client: Client, server: Scripted, text: str) -> None:
    server.says("POST", "/v1", (200, text))
    with pytest.raises(Unparseable):
        client.submit({"requestedWorkflowId": "x"})


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>Sign in</html>", '{"id": "x", "status": "Fine"}'])
def test_an_abort_is_done_when_cromwell_has_said_so(client: Client, server: Scripted, text: str) -> None:
    server.says("POST", "/abort", (200, text))
    with pytest.raises(Unparseable):
        client.abort("x")


def test_metadata_are_asked_for_by_their_keys(client: Client, server: Scripted) -> None:
    server.says_recorded("GET", "/metadata", "32-metadata-failed7-includekey")
    assert client.account("96982b8b").return_code == 7
    assert "includeKey=returnCode" in server.asked[-1][1]
    assert "includeKey=commandLine" not in server.asked[-1][1], "it holds the job's variables"


def test_many_ids_are_asked_for_in_bodies(client: Client, server: Scripted) -> None:
    ids = [f"id-{number}" for number in range(IDS_MAX + 1)]
    assert list(client.with_ids(ids)) == []
    bodies = [json.loads(body) for _, path, body in server.asked if path.endswith("/query")]
    asked = [[row["id"] for row in body if "id" in row] for body in bodies]
    assert asked == [ids[:IDS_MAX], ids[IDS_MAX:]]


def test_no_ids_are_no_question(client: Client, server: Scripted) -> None:
    assert list(client.with_ids([])) == []
    assert not server.asked


def test_a_proxy_of_the_environment_is_not_asked(
    client: Client, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert client.version() == "92"


def test_labels_are_asked_for_only_by_those_who_need_them(client: Client, server: Scripted) -> None:
    list(client.with_label("k", "v", ["Running"]))
    list(client.with_ids(["a"]))
    assert not any("additionalQueryResultFields" in path or b"labels" in body for _, path, body in server.asked)
    list(client.with_label("k", "v", ["Running"], with_labels=True))
    list(client.with_ids(["a"], with_labels=True))
    assert "additionalQueryResultFields=labels" in server.asked[-2][1]
    assert {"additionalQueryResultFields": "labels"} in json.loads(server.asked[-1][2])


def test_a_list_that_shrinks_while_it_is_read_ends(client: Client, server: Scripted) -> None:
    row = {"id": "ABC", "status": "Running", "labels": {}}
    pages = [{"results": [row], "totalResultsCount": 5}, {"results": [], "totalResultsCount": 4}]
    server.says("GET", "/query", *((200, json.dumps(page)) for page in pages))
    assert [found.id for found in client.with_label("k", "v", ["Running"])] == ["abc"]


def test_refusals_have_their_own_errors(client: Client, server: Scripted) -> None:
    server.says_recorded("POST", "/v1", "12a-post-same-id-immediately")
    server.says_recorded("POST", "/abort", "67-abort-unknown")
    server.says_recorded("GET", "/metadata", "28-unknown-metadata")
    with pytest.raises(IdTaken):
        client.submit({})
    with pytest.raises(NotInProgress):
        client.abort("x")
    with pytest.raises(NotThere):
        client.account("x")


def test_a_redirect_is_not_followed(client: Client, server: Scripted) -> None:
    server.says("GET", "/version", (302, ""))
    with pytest.raises(Unparseable, match="HTTP 302"):
        client.version()
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    said = r"http://127\.0\.0\.1:1 does not answer: .*Connection refused"
    with (
        closing(Client("http://pman:secret@127.0.0.1:1", timeout_s=1)) as client,
        pytest.raises(Unavailable, match=said) as error,
    ):
        client.version()
    assert "secret" not in str(error.value)
    assert without_password("https://u:p@host:8/x") == "https://host:8/x"
    assert without_password("http://host") == "http://host"


def test_a_server_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with closing(Client(url, timeout_s=0.1)) as client, pytest.raises(Unavailable, match="no answer in time"):
            client.version()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"garbage\r\n\r\n"])
def test_a_connection_that_breaks_is_no_answer(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def break_off() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=break_off)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with closing(Client(url, timeout_s=5)) as client, pytest.raises(Unavailable, match="does not answer"):
            client.version()
        thread.join()


@pytest.mark.parametrize("url", ["cromwell:8000", "ftp://cromwell", "http://", "nothing"])
def test_what_is_no_url_is_rejected(url: str) -> None:
    with closing(Client(url, timeout_s=1)) as client, pytest.raises(Rejected, match="CROMWELL_URL is no URL"):
        client.version()
