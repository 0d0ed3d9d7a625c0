"""The process that stays with one job of the process backend: claims it, starts it, waits, and writes how it ended.

It is run as ``python -I -S _process_supervisor.py PREPARED_FOLDER`` and imported by nobody. Standard library only: it
starts in milliseconds, and it owes nothing to the worker that started it, which may be killed at any moment.

The claim is ONE rename: the prepared folder, which says who claims, becomes the folder named by the generation. A
rename onto a folder that is not empty fails, on every file system, so exactly one supervisor goes on; the others
leave without having run anything. (``mkdir`` would be as exclusive, but for a moment nobody could tell by whom the
name is taken, and after a crash in that moment nobody ever could.)

``state.json`` is replaced as a whole: claimed, then started, then ended. What its keys mean is in
``_process_control.py``, which reads it.

https://man7.org/linux/man-pages/man2/rename.2.html
https://man7.org/linux/man-pages/man2/pr_set_child_subreaper.2const.html
https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would cost milliseconds of every job
    from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells exit with
WAKERS = {signal.SIGCHLD, signal.SIGTERM}
KILL_PASS_S = 0.05
RETRY_S = 1.0


def main(prepared: Path) -> None:
    launch = json.loads((prepared / "launch.json").read_text())
    if os.fork():
        os._exit(0)
    os.setsid()
    # Blocked signals end nobody: from here on only SIGKILL does. SIGTERM stays pending until it is asked for.
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as it may be inherited, it would bury children unread
    try:
        folder = claim(prepared, launch)
    except OSError as error:
        discard(prepared)
        tell(f"not claimed: {error.strerror}")
    else:
        tell("claimed")
        supervise(folder, launch)


def claim(prepared: Path, launch: dict[str, Any]) -> Path:
    """Make the prepared folder the job's control folder and return it.

    Raises:
        OSError: the name is taken, or the file system does not answer. Nothing has been run and nothing will be.
    """
    folder: Path = prepared.parent / launch["identity"]["generation"]
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    me = {"pid": os.getpid(), "start_ticks": int(stat_fields("self")[19]), "boot_id": boot_id}
    # Durable before anything runs: a claim that a power cut undoes could be made a second time.
    write_state(prepared, launch["identity"] | me, durable=True)
    try:
        prepared.rename(folder)
    except OSError:
        # A repeated NFS request can fail although its first copy was carried out: look whose it is.
        if not is_mine(folder, me):
            raise
    return folder


def is_mine(folder: Path, me: dict[str, Any]) -> bool:
    try:
        state = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError):
        return False
    return all(state.get(key) == value for key, value in me.items())


def discard(prepared: Path) -> None:
    with suppress(OSError):  # what is left is swept away when it is old
        for path in prepared.iterdir():
            path.unlink()
        prepared.rmdir()


def tell(answer: str) -> None:
    """Answer the worker, if it still lives, and let go of it."""
    with suppress(OSError):
        os.write(1, answer.encode())
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def supervise(folder: Path, launch: dict[str, Any]) -> None:
    """Run the job and write its end, whatever happens: of a claimed job somebody must know the truth."""
    libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    state = json.loads((folder / "state.json").read_text())
    try:
        ended = run(folder, launch, state)
    except Exception as error:  # noqa: BLE001
        end_descendants()
        ended = {"cause": "supervisor_failed", "error": f"{type(error).__name__}: {error}"}
    state |= ended | {"finished_at": time.time()}
    while True:
        try:
            return write_state(folder, state, durable=True)
        except FileNotFoundError:
            return None  # the folder has been removed: nobody asks any more
        except OSError:
            time.sleep(RETRY_S)  # a full disk: the truth waits


def run(folder: Path, launch: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """Run the job; return how it ended."""
    sync_folder(folder.parent)
    if signal.sigtimedwait({signal.SIGTERM}, 0):
        return {"cause": "cancelled"}
    child, failure = start(folder, launch)
    if failure:
        os.waitpid(child, 0)
        return failure
    state |= {"child_pid": child, "started_at": time.time()}
    with suppress(OSError):  # the end will be written with the start in it
        write_state(folder, state, durable=False)
    limit_s = launch["time_limit_s"]
    cause, status = wait(child, None if limit_s is None else time.monotonic() + limit_s)
    killed = end_descendants(child)
    code = os.waitstatus_to_exitcode(killed if status is None else status)
    ended = {"cause": cause, "exit_code": 128 - code if code < 0 else code, "signal": max(0, -code)}
    return ended | {"time_limit_s": limit_s} if cause == "time_limit" else ended


def start(folder: Path, launch: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """Fork the job's first process; return its pid, and what was wrong if its program did not start."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if launch["user"]:
        os.fchown(log, *launch["user"])  # else the job could not open /dev/stdout again
    receive, send = os.pipe()  # closed by a successful exec
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            become(launch, log, supervisor)
        except BaseException as error:  # noqa: BLE001
            os.write(send, json.dumps(describe(error, launch)).encode())
        finally:
            os._exit(NOT_FOUND)
    os.close(send)
    os.close(log)
    with os.fdopen(receive, "rb") as pipe:
        report = pipe.read()
    return child, json.loads(report) if report else None


def become(launch: dict[str, Any], log: int, supervisor: int) -> None:
    """Turn this process into the job."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.umask(0o022)
    if launch["cores"]:
        os.sched_setaffinity(0, launch["cores"])
    if launch["user"]:
        uid, gid = launch["user"]
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    os.chdir(launch["cwd"])
    # After the change of user, which clears it; and the parent may have died just before.
    libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(NOT_FOUND)
    argv = [argument.encode() for argument in launch["argv"]]
    env = {name.encode(): value.encode() for name, value in launch["env"].items()}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # Python ignores some, and what is ignored stays so after exec
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if launch["memory_bytes"]:
        resource.setrlimit(resource.RLIMIT_AS, (launch["memory_bytes"], launch["memory_bytes"]))
    os.execvpe(argv[0], argv, env)  # noqa: S606 - no shell: that is the point


def describe(error: BaseException, launch: dict[str, Any]) -> dict[str, Any]:
    """Return the end of a job whose program did not start."""
    folder, program = launch["cwd"], launch["argv"][0]
    what = f"in the folder {folder}" if getattr(error, "filename", None) == folder else repr(program)
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return {
        "cause": "start_failed",
        "error": f"cannot run {what}: {why}",
        "exit_code": NOT_FOUND if is_missing else NOT_EXECUTABLE,
    }


def wait(child: int, deadline: float | None) -> tuple[str, int | None]:
    """Wait until ``child`` ends, its time is over or it is cancelled.

    Returns which of the three, and its wait status if it ended by itself.
    """
    while True:
        status = reap(child)
        if status is not None:
            return "exited", status
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            return "time_limit", None
        caught = signal.sigwaitinfo(WAKERS) if left_s is None else signal.sigtimedwait(WAKERS, left_s)
        if caught and caught.si_signo == signal.SIGTERM:
            status = reap(child)
            return ("cancelled", None) if status is None else ("exited", status)


def reap(child: int) -> int | None:
    """Bury every dead process that is ours; return the wait status of ``child`` if it was among them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def end_descendants(child: int = 0) -> int:
    """Kill every descendant until none is left; return the wait status of ``child`` if it was among them.

    Orphans come to us (subreaper), whatever session they have made for themselves: no child left, nobody left.
    """
    status = 0
    while True:
        status = reap(child) or status
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return status
        for pid in descendants():
            with suppress(OSError):  # it has just ended, or it has become another user's
                os.kill(pid, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, KILL_PASS_S)


def descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                children.setdefault(int(stat_fields(path.name)[1]), []).append(int(path.name))
    found = [os.getpid()]
    for pid in found:  # it grows while we walk
        found += children.get(pid, [])
    return found[1:]


def stat_fields(pid: str) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third on (proc_pid_stat(5)); the second may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def write_state(folder: Path, state: dict[str, Any], *, durable: bool) -> None:
    fresh = folder / f"state.json.{os.getpid()}"
    with fresh.open("w") as file:
        json.dump(state, file)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    fresh.rename(folder / "state.json")
    if durable:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such thing
            raise
    finally:
        os.close(fd)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
