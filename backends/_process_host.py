"""What the process backend asks the kernel of this host: who lives, and who is it really. Linux only.

A pid alone says nothing, because numbers are used again. A process is named by its pid AND the clock tick of its
start AND the boot it belongs to; signals go through a pidfd, which cannot come to mean another process.
Worker and observer of one host must therefore see the same processes (one PID namespace).

https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
https://man7.org/linux/man-pages/man2/pidfd_open.2.html
"""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")
GENERATION_VARIABLE = "PMAN_GENERATION"
"""In the environment of every job: by it the processes of a job are known when their supervisor is gone."""
KILL_PASS_S = 0.01
KILL_PASSES_MAX = 100  # a process that waits for its disk does not even die of SIGKILL: it must not hold up the rest
DEAD_STATES = frozenset({b"Z", b"X"})


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """Return when the process began, in clock ticks since the boot; ``None`` if there is none or it is dead."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in DEAD_STATES else int(fields[19])


def is_alive(pid: int, ticks: int, boot: str) -> bool:
    return boot == boot_id() and start_ticks(pid) == ticks


def terminate(pid: int, ticks: int, timeout_s: float) -> bool:
    """Ask the supervisor ``pid`` to end its job, and wait. Returns whether it has ended."""
    if start_ticks(pid) != ticks:
        return True
    with _pidfd(pid) as fd:
        if fd is None or start_ticks(pid) != ticks:  # what we hold is the one that we have looked at
            return True
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        signal.pidfd_send_signal(fd, signal.SIGCONT)  # somebody may have stopped it
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))


def kill_leftovers(generation: str, log: Path) -> None:
    """Kill every process that the job ``generation`` has left behind, its supervisor being dead.

    A process is the job's if its environment says so or if it writes to the job's log. The number of its session is
    no proof: by now it may be anybody's.
    """
    for _ in range(KILL_PASSES_MAX):
        pids = [pid for pid in _pids() if _belongs(pid, generation, log)]
        if not pids:
            return
        for pid in pids:
            with _pidfd(pid) as fd, suppress(OSError):
                if fd is not None and _belongs(pid, generation, log):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
        time.sleep(KILL_PASS_S)


def _pids() -> list[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def _belongs(pid: int, generation: str, log: Path) -> bool:
    """Say whether a living process is the job's; of those of other users we cannot know and need not."""
    mark = f"{GENERATION_VARIABLE}={generation}".encode()
    with suppress(OSError):
        if start_ticks(pid) is not None and mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            return True
    return any(_is_open_as(pid, fd, log) for fd in (1, 2))


def _is_open_as(pid: int, fd: int, file: Path) -> bool:
    try:
        return (PROC / str(pid) / "fd" / str(fd)).samefile(file)
    except OSError:
        return False


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
