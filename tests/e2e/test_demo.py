"""``make demo`` for real: its processes, its job, its files, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PMAN = Path(sys.executable).with_name("pman")
PATIENCE_S = 240
"""For what takes a few seconds on a quiet machine. Only a failure takes so long."""
PLAIN_STARTS_MAX = 16
"""The demo starts seven Pythons and waits for its job: by so many starts of one, at the most, measured beside it."""
INPUT = ("--input", "incoming")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def bare_env(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has nothing: no Redis, no settings, an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}


def test_the_demo_runs_a_job_and_leaves_nothing(bare_env: dict[str, str], tmp_path: Path) -> None:
    began = time.monotonic()
    with plain_starts() as starts_s:
        code, output = run_demo(bare_env)
        took_s = time.monotonic() - began
    plain_s = max(starts_s)
    assert code == 0, output
    for expected in ("SUCCEEDED, exit code 0", "montage.png", "slice-08.png", "9/9", "processes left: none"):
        assert expected in output
    assert re.search(r"[1-9]\d{3,} bytes  montage\.png", output)
    assert took_s < max(10, PLAIN_STARTS_MAX * plain_s), f"a plain start took {plain_s:.1f} s"
    wait_until_nobody_knows(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["home"], "its folder is gone"


def run_demo(env: dict[str, str]) -> tuple[int, str]:
    """Return its exit code and what it has printed. A demo that hangs leaves nothing either."""
    demo = subprocess.Popen(
        [sys.executable, ROOT / "demo" / "run.py"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with demo:
        try:
            output, _ = demo.communicate(timeout=PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):  # `pman up` is of its session, and takes with it what it has started
                os.killpg(demo.pid, signal.SIGKILL)
    return demo.returncode, output


@contextmanager
def plain_starts() -> Iterator[list[float]]:
    """Collect how many seconds one of pman's own processes takes to start meanwhile, by the libraries it imports."""
    took_s: list[float] = []
    is_over = threading.Event()

    def start_again() -> None:
        while not (is_over.is_set() and took_s):
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-c", "import celery.apps.worker, flask, gunicorn.app.wsgiapp, redis"], check=True
            )
            took_s.append(time.monotonic() - began)

    thread = threading.Thread(target=start_again)
    thread.start()
    try:
        yield took_s
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def up(bare_env: dict[str, str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    state = tmp_path / "state"
    command = [str(PMAN), "up", "--port", "0", "--any-image", "--state", str(state)]
    with (tmp_path / "up.log").open("w") as log:
        process = subprocess.Popen(command, env=bare_env, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + PATIENCE_S
        while not (state / "up.json").exists():
            assert process.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < until, (tmp_path / "up.log").read_text()
            time.sleep(0.05)
        yield process, json.loads((state / "up.json").read_text())["url"]
    finally:
        process.kill()
        process.wait()


Up = tuple[subprocess.Popen[str], str]


def pman(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PMAN, *args], env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_command_line_against_a_real_pman(up: Up, bare_env: dict[str, str], tmp_path: Path) -> None:
    process, url = up
    env = bare_env | {"PMAN_URL": url}
    fails = pman(env, "run", "--jid", "j1", *INPUT, "--keep", "local", "--", "sh", "-c", "echo hello; exit 7")
    assert (fails.returncode, fails.stdout) == (7, "hello\n"), fails.stderr
    record = json.loads(pman(env, "status", "--json", "j1").stdout)
    assert (record["state"], record["reason"], record["exit_code"]) == ("FAILED", "NONZERO_EXIT", 7)
    assert pman(env, "logs", "j1").stdout == "hello\n"
    assert pman(env, "run", "--jid", "j1", *INPUT, "local", "--", "sh", "-c", "other").returncode == 125
    assert [job["jid"] for job in json.loads(pman(env, "ls", "--json").stdout)] == ["j1"]
    until = time.monotonic() + PATIENCE_S
    # It gives the workers a second to answer; on a busy machine one may be late once.
    while (healthy := pman(env, "doctor", "--state", str(tmp_path / "state"))).returncode:
        assert time.monotonic() < until, healthy.stdout
    assert "fail" not in healthy.stdout
    assert pman(env, "rm", "j1").returncode == 0
    assert pman(env, "status", "j1").returncode == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 0, (tmp_path / "up.log").read_text()
    wait_until_nobody_knows(tmp_path / "state")


def test_nothing_but_jobs_outlives_a_killed_up(up: Up, bare_env: dict[str, str], tmp_path: Path) -> None:
    process, _ = up
    process.kill()
    process.wait()
    wait_until_nobody_knows(tmp_path / "state")


def wait_until_nobody_knows(folder: Path) -> None:
    """Wait until all have ended: the supervisor of a job tells its end before it is gone itself."""
    until = time.monotonic() + PATIENCE_S
    while left := processes_that_know(folder):
        assert time.monotonic() < until, left
        time.sleep(0.1)


def processes_that_know(folder: Path) -> list[str]:
    """Return every process whose environment or arguments name ``folder``, except our own children's shells."""
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join([*process.environ().values(), *process.cmdline()])
            if str(folder) in text and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return found
