"""What the end-to-end tests start ends with them, however they end; and nothing starts after that."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from testbed.system import System, wait_for

pytestmark = pytest.mark.exhaustive  # every test starts Pythons with pman in them

STARTS_TWO = """
import sys, time
from pathlib import Path
from testbed.system import System
system = System(Path(sys.argv[1]))
system.start_redis()
system.start("sleeper", ["-c", "import subprocess; subprocess.run(['sleep', '300'])"])
print("started", flush=True)
time.sleep(300)
"""


def living(folder: Path) -> list[psutil.Process]:
    """Return what works in ``folder``, or names it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join([process.cwd(), *process.cmdline(), process.environ().get("HOME", "")]):
                found.append(process)
    return found


def test_what_was_started_ends_with_whoever_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "pman"
    argv = [sys.executable, "-c", STARTS_TWO, str(folder)]
    with subprocess.Popen(argv, cwd=Path.cwd(), stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout
        assert test.stdout.readline() == "started\n"
        wait_for("all live", lambda: len(living(folder)) >= 3)  # the test itself, the sleeper and its child, at least
        test.send_signal(signal.SIGKILL)
    try:
        wait_for("all have ended", lambda: not living(folder))
    finally:
        for process in living(folder):
            process.kill()


def test_nothing_starts_after_the_end(tmp_path: Path) -> None:
    system = System(tmp_path / "pman")
    system.start("sleeper", ["-c", "import time; time.sleep(300)"])
    system.close()
    assert system.processes["sleeper"].poll() is not None
    with pytest.raises(RuntimeError, match="closed"):
        system.restart("sleeper")
    with pytest.raises(RuntimeError, match="closed"):
        system.start_redis()
    assert not living(tmp_path / "pman")


def test_one_that_cannot_be_ended_leaves_no_other_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(tmp_path / "pman")
    for name in ("first", "second", "third"):
        system.start(name, ["-c", "import time; time.sleep(300)"])
    end = system._end

    def fails(name: str) -> None:
        if name == "second":
            raise ProcessLookupError(name)
        end(name)

    monkeypatch.setattr(system, "_end", fails)
    with pytest.raises(ProcessLookupError):
        system.close()
    assert [system.processes[name].poll() is None for name in ("first", "third")] == [False, False]
    end("second")
