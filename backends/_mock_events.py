"""The mock's event stream: which change is announced when, and where to resume. Only :mod:`backends.mock` imports this.

The journal tells what was done; from a submit follow changes at times that are known beforehand. A cursor is a place
in the journal and a time: of the lines before that place only what was due since that time is announced again. A
stream that resumes may repeat its last events and never leaves one out.
"""

import heapq
import json
from dataclasses import dataclass

from backends._mock_folder import Faults

REORDER_S = 0.5
Change = tuple[float, str]
"""When, and of which generation."""


@dataclass(frozen=True, slots=True)
class Cursor:
    offset: int
    """Bytes of the journal that were read."""
    time_s: float
    """Everything that those lines announce was told up to this time."""

    def __str__(self) -> str:
        return f"{self.offset}@{self.time_s!r}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what ``str`` wrote.

        Raises:
            ValueError: it is no cursor.
        """
        offset, _, time_s = text.partition("@")
        return cls(int(offset), float(time_s))


class Agenda:
    """What is to be announced, the earliest first. Does no I/O: it is given the journal piece by piece."""

    def __init__(self, resume: Cursor, instance: str) -> None:
        self._resume = resume
        self._instance = instance
        self._due: list[Change] = []
        self._time_s = resume.time_s
        self.offset = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(max(self.offset, self._resume.offset), self._time_s)

    def read(self, piece: bytes) -> None:
        """Take the journal's bytes from :attr:`offset` on; an unfinished last line is left for the next time."""
        for line in piece.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            known = self.offset < self._resume.offset
            self.offset += len(line)
            entry = json.loads(line)
            if entry["instance"] != self._instance:
                continue
            for at_s in entry["at_s"]:
                if not known or at_s >= self._resume.time_s:
                    heapq.heappush(self._due, (at_s, entry["id"]))

    def take(self, now_s: float, faults: Faults) -> list[tuple[Change, str]]:
        """Return the changes to be told at ``now_s``, in the order of telling, each with where to resume after it."""
        until_s = now_s - faults.late_events_s
        if faults.reorder_events:
            until_s -= until_s % REORDER_S
        before = str(self.cursor)
        batch = [(change, str(self.cursor)) for change in iter(lambda: self.pop(until_s), None)]
        if faults.reorder_events:
            # Whoever resumes in the midst of it must not miss what is told last.
            batch = [(change, before) for change, _ in reversed(batch)]
        if faults.lose_events:
            return []
        return [told for told in batch for _ in range(1 + faults.repeat_events)]

    def pop(self, now_s: float) -> Change | None:
        """Return the time and the generation of the next change that is due, if one is."""
        if not self._due or self._due[0][0] > now_s:
            return None
        at_s, generation = heapq.heappop(self._due)
        self._time_s = max(self._time_s, at_s)
        return at_s, generation
