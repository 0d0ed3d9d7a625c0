"""What a killed run has left is cleared away by a later one, and nothing else is."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed.remains import OWNER, clear_dead, keep, make_folder
from testbed.system import wait_for

RUN = """
import os, subprocess, sys, time
from testbed.remains import make_folder
folder = make_folder("pman-test-")
(folder / "disk").mkdir()
if os.geteuid() == 0:
    for _ in range(2):
        subprocess.run(["mount", "-t", "tmpfs", "pman-test", folder / "disk"], check=True)
(folder / "disk" / "file").touch()
inside = {"HOME": str(folder / "pman")}
job = {"PMAN_GENERATION": "01h", "PATH": os.environ["PATH"]}
for env, cwd in ((inside, "/"), (job, folder / "disk"), ({}, folder / "disk")):
    print(subprocess.Popen(["/bin/sleep", "300"], env=env, cwd=cwd, start_new_session=True).pid)
print(folder, flush=True)
time.sleep(300)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the system's folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process], Path]]:
    """Return a run that lives, its process of pman, its job, one that only stands in its folder, and that folder."""
    argv = [sys.executable, "-c", RUN]
    env = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(argv, cwd=Path.cwd(), env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        started = [psutil.Process(int(process.stdout.readline())) for _ in range(3)]
        made = Path(process.stdout.readline().strip())
        try:
            yield process, started, made
        finally:
            process.kill()
            for one in started:
                if one.is_running():
                    one.kill()
            for _ in range(2):
                subprocess.run(["umount", "--lazy", made / "disk"], capture_output=True, check=False)


@pytest.mark.exhaustive  # starts a Python with the testbed in it
def test_what_a_killed_run_has_left_is_cleared_away(
    run: tuple[subprocess.Popen[str], list[psutil.Process], Path],
) -> None:
    process, (pman, job, bystander), made = run
    clear_dead()
    assert (made / "disk" / "file").exists(), "it lives"
    assert all(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in (pman, job))
    process.send_signal(signal.SIGKILL)
    process.wait()
    make_folder("pman-next-")
    assert not made.exists()
    assert str(made) not in Path("/proc/mounts").read_text()
    wait_for("its processes end", lambda: not pman.is_running() and not job.is_running())
    assert bystander.is_running(), "somebody has a shell there"


@pytest.mark.exhaustive  # likewise
def test_what_is_kept_is_left_alone(run: tuple[subprocess.Popen[str], list[psutil.Process], Path]) -> None:
    process, _, made = run
    keep(made)
    process.kill()
    process.wait()
    clear_dead()
    assert made.exists()


@pytest.mark.parametrize(
    ("changes", "is_cleared"),
    [
        ({}, False),
        ({"ticks": 1}, True),
        ({"boot": "an-earlier-one"}, True),
        ({"ticks": 1, "namespace": "pid:[1]"}, False),
        ({"boot": "an-earlier-one", "namespace": "pid:[1]"}, True),
        ({"boot": "its own", "host": "another-one-with-this-folder"}, False),
    ],
)
def test_only_an_owner_that_is_surely_dead_is_dead(changes: dict[str, object], is_cleared: bool) -> None:
    made = make_folder("pman-mine-")
    owner = json.loads((made / OWNER).read_text())
    (made / OWNER).write_text(json.dumps(owner | changes))
    clear_dead()
    assert made.exists() is not is_cleared


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_an_owner_that_cannot_be_read_is_left_alone_and_keeps_nobody_from_beginning(text: str) -> None:
    made = make_folder("pman-damaged-")
    (made / OWNER).write_text(text)
    assert make_folder("pman-next-").exists()
    assert made.exists()


@pytest.mark.parametrize("whose", ["link", "stranger"])
def test_what_another_user_has_made_to_look_like_ours_is_left_alone(folder: Path, whose: str) -> None:
    dead = make_folder("pman-dead-")
    owner = json.loads((dead / OWNER).read_text()) | {"ticks": 1}
    keep(dead)
    (dead / "owner").write_text(json.dumps(owner))
    foreign = folder / "pman-foreign"
    foreign.mkdir()
    if whose == "link":
        (foreign / OWNER).symlink_to(dead / "owner")
    elif os.geteuid() == 0:
        (foreign / OWNER).hardlink_to(dead / "owner")
        os.chown(foreign, 65534, 65534)
    else:
        pytest.skip("only root can give a folder away")
    clear_dead()
    assert foreign.exists()


def test_a_folder_without_an_owner_is_nobodys(folder: Path) -> None:
    (folder / "pman-old").mkdir()
    clear_dead()
    assert (folder / "pman-old").exists()
