"""The folder in which ``pman up`` keeps what is its own, by default ``./.pman``: data, a lock, and a note.

The note tells other commands on this machine how to reach what runs; only its owner may read it, it holds a password.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

DEFAULT = Path(".pman")


class AlreadyUp(Exception):
    """Another ``pman up`` uses this folder."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a running ``pman up`` tells about itself."""

    pid: int
    url: str
    env: Mapping[str, str]
    """What it set for its processes beyond what it was given: with this, a command sees the same pman."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    path: Path

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def _note(self) -> Path:
        return self.path / "up.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one ``pman up``, and take back its note afterwards.

        Raises:
            AlreadyUp: somebody else holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyUp(f"another `pman up` uses {self.path}: stop it, or choose another --state") from None
            try:
                yield
            finally:
                self._note.unlink(missing_ok=True)

    def write_note(self, note: Note) -> None:
        """Write it at once: a reader sees all of it or none."""
        draft = self._note.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(note), indent=2))
        draft.replace(self._note)

    def read_note(self) -> Note | None:
        """Return the note of the ``pman up`` that runs here, ``None`` if none does; a killed one leaves its note."""
        try:
            note = Note(**json.loads(self._note.read_text()))
            os.kill(note.pid, 0)
        except (OSError, ValueError, TypeError):
            return None
        return note
