"""Ends what a test has started when the test itself is gone: ``kill -9`` leaves it no time to clean up."""

import subprocess
import threading
from collections.abc import Sequence

SCRIPT = "while read -r line; do targets=$line; done; for one in $targets; do kill -9 $one; done"
"""At the end of its input, which is the end of whoever writes to it, it kills what the last line names."""


class Reaper:
    """A shell that outlives this process for a moment. Tell it whom to end; :meth:`close` ends nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shell: subprocess.Popen[bytes] | None = None

    def watch(self, targets: Sequence[int]) -> None:
        """Set who is to end: processes, and sessions by their negative number. Replaces what was set before."""
        with self._lock:
            if self._shell is None:
                self._shell = subprocess.Popen(
                    ["/bin/sh", "-c", SCRIPT],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            assert self._shell.stdin  # noqa: S101 - it is a pipe
            self._shell.stdin.write(" ".join(map(str, targets)).encode() + b"\n")
            self._shell.stdin.flush()

    def close(self) -> None:
        with self._lock:
            if self._shell is not None:
                self._shell.kill()
                self._shell.wait()
                assert self._shell.stdin  # noqa: S101 - it is a pipe
                self._shell.stdin.close()
                self._shell = None
