"""Clears away what a dead run of the tests has left: ``kill -9`` of it leaves mounts, engines and jobs behind.

A run that mounts, or starts what outlives it, does that in a folder of :func:`make_folder`. A file in it says whose it
is. Only folders of this user whose owner is surely dead, as that file has it, are touched; all that is in them and of
them ends.
"""

import fcntl
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import psutil

from backends._process_host import GENERATION_VARIABLE, boot_id, is_alive, start_ticks

OWNER = "owner.pid"
END_ENGINE = Path(__file__).parent / "docker" / "down.sh"


def make_folder(prefix: str) -> Path:
    """Return a new folder of this process below the system's folder for temporary files. First clear the dead ones'."""
    clear_dead()
    folder = Path(mkdtemp(prefix=prefix))
    pid = os.getpid()
    ours = {
        "host": platform.node(),
        "boot": boot_id(),
        "namespace": _namespace(),
        "pid": pid,
        "ticks": start_ticks(pid),
    }
    written = folder / f"{OWNER}.tmp"
    written.write_text(json.dumps(ours))
    written.rename(folder / OWNER)
    return folder


def keep(folder: Path) -> None:
    """Let the folder stay when its owner is gone: what had to end has ended, and somebody wants to read the rest."""
    (folder / OWNER).unlink(missing_ok=True)


def clear_dead() -> None:
    """End and delete what is in the folders of dead owners."""
    for path in Path(gettempdir()).glob(f"pman-*/{OWNER}"):
        # Another run may do the same at the same time: what it has cleared is gone, what it clears is locked.
        with suppress(FileNotFoundError, BlockingIOError):
            # Neither may be another user's, nor a link of his to what is ours.
            if not (_is_mine(path.parent, stat.S_ISDIR) and _is_mine(path, stat.S_ISREG)):
                continue
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_dead(file.read()):
                    _clear(path.parent)


def _is_mine(path: Path, is_kind: Callable[[int], bool]) -> bool:
    found = path.lstat()
    return is_kind(found.st_mode) and found.st_uid == os.geteuid()


def _is_dead(text: str) -> bool:
    """Whether the owner has ended. Who lives on another host or in another namespace is not known here.

    None of this host outlives a boot. Of whom a power cut has left half a file, nothing is known either.
    """
    try:
        owner = json.loads(text)
        host, boot, namespace, pid, ticks = (owner[key] for key in ("host", "boot", "namespace", "pid", "ticks"))
    except (ValueError, TypeError, KeyError):
        return False
    is_known = host == platform.node() and (boot != boot_id() or namespace == _namespace())
    return is_known and not is_alive(pid, ticks, boot)


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _clear(folder: Path) -> None:
    if (folder / "run").exists():
        engine = {"DOCKER_HOME": str(folder), "DOCKER_WIPE": "1"}
        subprocess.run([END_ENGINE], env=os.environ | engine, capture_output=True, check=False)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _belongs(process, folder):
                process.send_signal(signal.SIGKILL)
    for mount in _mounts(folder):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)  # noqa: S607 - as root's PATH has it
    if not list(_mounts(folder)):  # else it would be emptied, whatever it is
        shutil.rmtree(folder, ignore_errors=True)


def _belongs(process: psutil.Process, folder: Path) -> bool:
    """Whether it is one of pman's, a job or a supervisor. A shell that somebody has opened in the folder is none."""
    inside, environ, arguments = f"{folder}/", process.environ(), process.cmdline()
    is_ours = environ.get("HOME", "").startswith(inside)
    is_job = GENERATION_VARIABLE in environ and process.cwd().startswith(inside)
    is_supervisor = any("_process_supervisor" in one for one in arguments) and arguments[-1].startswith(inside)
    return is_ours or is_job or is_supervisor


def _mounts(folder: Path) -> Iterator[str]:
    """Yield the mount points below ``folder``, the last one first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return (point for line in reversed(lines) if (point := line.split()[4]).startswith(f"{folder}/"))
