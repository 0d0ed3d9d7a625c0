"""The token that slurmrestd wants, wherever a site has it: a setting, a file, or a command that makes one.

https://slurm.schedmd.com/jwt.html. A token is a secret: it is in no message and no log, nor is what a command prints.
"""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pman_core.errors import Unavailable

COMMAND_TIMEOUT_S = 10.0
MARGIN_S = 60.0
"""A token that ends sooner is renewed, or one that has lived nine tenths of its life, whichever is later."""
QUIET_S = 10.0
"""So soon after it was run a command is not run again."""


class Tokens:
    """The present token, and how to get another one. Its calls may come from several threads."""

    def __init__(self, fixed: str = "", file: Path | None = None, command: Sequence[str] = ()) -> None:
        self._fixed = fixed
        self._file = file
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._made = ""
        self._renew_at_s = 0.0
        self._ran_at_s = float("-inf")

    def current(self) -> str:
        """Return the token; make a new one if the last one is about to end. The file is read each time.

        Raises:
            Unavailable: there is none now.
        """
        if self._file is not None:
            return self._read(self._file)
        if not self._command:
            return self._fixed
        with self._lock:
            if not self._made or time.time() >= self._renew_at_s:
                self._run()
            return self._made

    def another(self, refused: str) -> str:
        """Return a token that is not ``refused``; ``""`` if there is none.

        Raises:
            Unavailable: it cannot be had now.
        """
        if self._command:
            with self._lock:
                if self._made == refused and time.monotonic() - self._ran_at_s >= QUIET_S:
                    self._run()
                return self._made if self._made != refused else ""
        token = self.current()
        return token if token != refused else ""

    def _read(self, file: Path) -> str:
        try:
            return _bare(file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"the token of slurmrestd cannot be read: {type(error).__name__} of {file}") from None

    def _run(self) -> None:
        self._ran_at_s = time.monotonic()
        try:
            done = subprocess.run(
                self._command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
            raise Unavailable(f"no token: {self._command[0]} failed ({type(error).__name__})") from None
        token = _bare(done.stdout)
        if done.returncode != 0 or not token:
            raise Unavailable(f"no token: {self._command[0]} ended with {done.returncode}, run it by hand to see why")
        self._made, self._renew_at_s = token, renew_at_s(token, time.time())


def renew_at_s(token: str, now_s: float) -> float:
    """Return when a token that was made now should be renewed, in seconds of the epoch; never if it does not say."""
    try:
        payload = token.split(".")[1]
        ends_at_s = float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return float("inf")
    return max(ends_at_s - MARGIN_S, now_s + 0.9 * (ends_at_s - now_s))


def _bare(text: str) -> str:
    """Return the token itself: ``scontrol token`` prints a name before it."""
    lines = text.strip().splitlines()
    return lines[-1].strip().removeprefix("SLURM_JWT=") if lines else ""
