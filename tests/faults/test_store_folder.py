"""The store has no room, or cannot be written: jobs wait and say why, the API does not feel it, no end is false.

Root may write anywhere, whatever the mode says; so the store is a small file system of its own here.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.remains import make_folder
from testbed.system import System, wait_for
from tests.e2e.jobs import prepare, traces
from tests.faults.scene import LEASE_S, TIMES, Start, ask, get, post, running, wait_end, wait_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SIZE = "1m"
FILLER = "filler"
ENDS_QUIETLY = """
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
sys.exit(int(sys.argv[3]))
"""


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own; if this process is killed, a later one takes it away."""
    folder = make_folder("pman-disk-")
    folder.chmod(0o755)
    (folder / "disk").mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={SIZE}", "pman-test", folder / "disk")
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(folder)
        pytest.skip("mounts are not permitted here")
    yield folder / "disk"
    subprocess.run(["umount", "--lazy", folder / "disk"], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def system(start: Start, disk: Path) -> Iterator[System]:
    made = start(env=TIMES | {"SUBMIT_LEASE_S": str(LEASE_S), "STOREBASE": str(disk)})
    made.store_base = disk
    try:
        made.start_all()
        made.wait_ready()
        yield made
    finally:
        made.close()


def is_remounted(system: System, how: str) -> bool:
    try:
        mount("-o", f"remount,{how}", system.store_base)
    except subprocess.CalledProcessError:
        return False
    return True


def fill(system: System) -> None:
    """Take all the room there is, inodes not counted."""
    with (system.store_base / FILLER).open("wb") as filler, suppress(OSError):
        while True:
            os.write(filler.fileno(), b"\0" * 4096)


def test_a_full_store_lets_jobs_wait_and_say_why_and_no_end_is_false(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    post(system, "runs", 0, 7, entrypoint=["python3", "-c", ENDS_QUIETLY, str(gate)])
    post(system, "victim", 0, 0, entrypoint=["python3", "-c", ENDS_QUIETLY, str(tmp_path / "never")])
    wait_status(system, "runs", "started")
    wait_status(system, "victim", "started")
    waiting = {f"waits-{number}": number for number in range(3)}
    for jid in (*waiting, "given-up"):
        prepare(system, jid)
    fill(system)
    for jid, code in waiting.items():
        post(system, jid, 0.1, code)
    post(system, "given-up", 0.1, 0)
    for jid in waiting:
        wait_for(f"{jid} says why it waits", lambda jid=jid: "No space left" in get(system, jid)["message"])
        assert get(system, jid)["status"] == "notstarted"
    assert ask(system, "DELETE", "/api/v1/given-up/").status_code == 204
    assert ask(system, "DELETE", "/api/v1/victim/").status_code == 204
    gate.touch()
    # The end of the one that runs cannot be written down: it is not known yet, and not made up.
    wait_for("it has ended", lambda: "runs" not in running(system))
    assert get(system, "runs")["status"] == "started"
    (system.store_base / FILLER).unlink()
    assert wait_end(system, "runs")["exit_code"] == 7
    for jid, code in waiting.items():
        assert wait_end(system, jid, timeout_s=120)["exit_code"] == code
        assert (traces(system, jid), traces(system, jid, "ends")) == (1, 1)
    wait_for("nothing is owed", lambda: system.connect_store().counts("process")["obligations"] == 0)
    assert not running(system)
    assert traces(system, "given-up") == 0


def test_a_store_that_cannot_be_written_lets_jobs_wait_and_say_why(system: System) -> None:
    waiting = {f"waits-{number}": number for number in range(3)}
    post(system, "ended", 0.1, 4)
    ended = wait_end(system, "ended")
    for jid in waiting:
        prepare(system, jid)
    wait_for("no file of it is open to be written in that instant", lambda: is_remounted(system, "ro"))
    for jid, code in waiting.items():
        # No folder is made anew: this store could not be written by the client either.
        post(system, jid, 0.1, code)
    for jid in waiting:
        wait_for(f"{jid} says why it waits", lambda jid=jid: "Read-only" in get(system, jid)["message"])
        assert get(system, jid)["status"] == "notstarted"
    assert get(system, "ended") == ended
    wait_for("the API tells of it", lambda: not ask(system, "GET", "/ready/").json()["backend"]["ok"])
    assert is_remounted(system, "rw")
    for jid, code in waiting.items():
        assert wait_end(system, jid, timeout_s=120)["exit_code"] == code
        assert (traces(system, jid), traces(system, jid, "ends")) == (1, 1)
