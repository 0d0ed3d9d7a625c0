"""The processes of this machine that name something in their command line: those that a test has left to itself."""

from contextlib import suppress

import psutil


def naming(word: object) -> list[psutil.Process]:
    """Return every process that has ``word`` in its command line and is more than an entry for its parent."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(word) in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def kill_naming(word: object) -> None:
    """Kill them; one that has ended meanwhile is as good."""
    for process in naming(word):
        with suppress(psutil.NoSuchProcess):
            process.kill()
