"""The testbed finds engines that answer, and no others."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from testbed import engines


class Engine(BaseHTTPRequestHandler):
    """As much of one as is asked for."""

    def do_GET(self) -> None:
        body = b'{"ApiVersion": "1.41"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its name is short enough for a socket."""
    with TemporaryDirectory(prefix="pman-") as name:
        yield Path(name)


@pytest.fixture
def engine(folder: Path) -> Iterator[str]:
    path = folder / "engine.sock"
    with ThreadingUnixStreamServer(str(path), Engine) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join()


@pytest.fixture
def silent(folder: Path) -> Iterator[str]:
    """A socket that accepts and never answers."""
    path = folder / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield f"unix://{path}"


@pytest.mark.parametrize(("variable", "find"), [("DOCKER_HOST", engines.docker_url),
                                                ("PODMAN_HOST", engines.podman_url)])  # fmt: skip
def test_the_environment_names_an_engine(
    variable: str, find: object, engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(find)
    monkeypatch.setenv(variable, engine)
    assert find() == engine
    monkeypatch.setenv(variable, f"unix://{folder}/nothing.sock")
    assert find() is None


def test_without_a_name_the_first_podman_that_answers_is_taken(
    engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PODMAN_HOST", raising=False)
    monkeypatch.setattr(engines, "podman_candidates", lambda: [f"unix://{folder}/nothing.sock", engine])
    assert engines.podman_url() == engine


def test_an_engine_that_does_not_answer_is_not_waited_for_for_ever(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 20 <= engines.TIMEOUT_S * engines.SILENCES_MAX <= 30
    monkeypatch.setattr(engines, "TIMEOUT_S", 0.02)
    assert not engines.answers(silent)


def test_an_engine_that_is_busy_for_a_while_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "TIMEOUT_S", 0.3)
    asked = 0

    class Busy(Engine):
        def do_GET(self) -> None:
            nonlocal asked
            asked += 1
            if asked < 5:
                time.sleep(0.5)
            with suppress(OSError):  # who has asked has gone
                super().do_GET()

    path = folder / "busy.sock"
    with ThreadingUnixStreamServer(str(path), Busy) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert engines.answers(f"unix://{path}")
        server.shutdown()
        thread.join()
