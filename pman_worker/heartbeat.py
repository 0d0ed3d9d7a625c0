"""A sign of life for those who look from outside: a file whose time of change says when the process last came round.

A worker and an observer serve no port that a probe could ask, and to start a Python for each probe would cost more than
their work. Whether a file is fresh, ``find`` can tell. A beat means: the main loop runs, and Redis has answered.
"""

import contextlib
import logging
from pathlib import Path

log = logging.getLogger(__name__)


class Heartbeat:
    """Touches ``path``; without one it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def begin(self) -> None:
        """Forget the beats of whoever wrote there before: a container that starts again finds its volume as it was."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()

    def beat(self) -> None:
        """Say that the loop has come round. Never raises: who cannot write looks dead, and the log says why."""
        if self._path is None:
            return
        try:
            self._path.touch()
        except OSError as error:
            log.warning("no heartbeat in %s: %s", self._path, error.strerror)
