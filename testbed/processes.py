"""The processes of this machine: those that name something in their command line, and those that one has started.

Any of them may end while it is looked at, which is no fault of whoever looks.
"""

from contextlib import suppress

import psutil


def naming(word: object) -> list[psutil.Process]:
    """Return every process that has ``word`` in its command line and is more than an entry for its parent."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(word) in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def is_left(process: psutil.Process) -> bool:
    """Whether a process has not ended: it is there, and more than an entry for its parent."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def kill_naming(word: object) -> None:
    """Kill them; one that has ended meanwhile is as good."""
    for process in naming(word):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def children_named(pid: int, *names: str, recursive: bool = False) -> list[psutil.Process]:
    """Return those children of a process, which must be there itself, that run one of the programs ``names``."""
    found = []
    for child in psutil.Process(pid).children(recursive=recursive):
        with suppress(psutil.NoSuchProcess):
            if child.name() in names:
                found.append(child)
    return found
