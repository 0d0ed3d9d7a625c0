"""Liars about the log."""

from backends.mock import MockBackend
from pman_core.backend import JobRef
from pman_core.errors import Unavailable


class KeepsTheBeginning(MockBackend):
    """The log is cut at its end."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        lines = super().logs(ref, 10**6, 10**7).splitlines(keepends=True)
        return "".join(lines[:tail_lines])[:max_bytes]


class SaysEverything(MockBackend):
    """The log is bounded in lines only."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        return super().logs(ref, tail_lines, 10**8)


class CountsCharacters(MockBackend):
    """The log is bounded in characters, not in bytes."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        return super().logs(ref, tail_lines, 10**8)[-max_bytes:]


class MissesUnknownLogs(MockBackend):
    """The log of an unknown job is an error."""

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if self._present(ref.generation) is None:
            raise Unavailable("404")
        return super().logs(ref, tail_lines, max_bytes)
