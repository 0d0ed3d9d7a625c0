"""Reads one job's control folder, which ``control.py`` makes and the launcher writes into."""

import os
from dataclasses import dataclass
from pathlib import Path

from backends._hpc.outcome import Claim, End, Verdict
from backends._identity import read_spec
from backends._private_folder import asking
from pman_core.job import JobSpec

SPEC, NATIVE, CLAIM, END, ALIVE, FETCHING, LOG, SAID, VERDICT, REMOVED = (
    "spec.json",
    "native",
    "claim",
    "end",
    "alive",
    "fetching",
    "log",
    "slurm",
    "verdict",
    "removed",
)
FACTS = "facts"
SILENCE_S = 40.0
"""A launcher that has not said for so long that it is there has gone."""
FACTS_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Noted:
    """An id that the scheduler has given to an order of ours, and when that was noted, by the clock of the storage."""

    native_id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Reads one job's control folder; what is not there is ``None``. Every method may raise ``Unavailable``."""

    path: Path
    generation: str

    def exists(self) -> bool:
        with asking("read"):
            return self.path.is_dir()

    def is_removed(self) -> bool:
        with asking("read"):
            return (self.path / REMOVED).exists()

    def names(self) -> frozenset[str]:
        """Return what is in the folder. NFS asks the server; of a single name it may remember that it was not there."""
        with asking("read"):
            try:
                return frozenset(os.listdir(self.path))  # noqa: PTH208 - no paths are wanted
            except FileNotFoundError:
                return frozenset()

    def spec(self) -> JobSpec | None:
        """Return the spec; ``None`` if it is not there or damaged."""
        data = self._read(SPEC)
        spec = None if data is None else read_spec(data.decode(errors="replace"))
        return spec if spec is not None and spec.generation == self.generation else None

    def noted(self) -> list[Noted]:
        """Return the ids that were noted, in the order of their numbers."""
        with asking("read"):
            try:
                entries = [Noted(entry.name, entry.stat().st_mtime) for entry in os.scandir(self.path / NATIVE)]
            except FileNotFoundError:
                return []
        return sorted(entries, key=lambda noted: (len(noted.native_id), noted.native_id))

    def claim(self) -> Claim | None:
        data = self._read(f"{CLAIM}/{FACTS}", FACTS_BYTES_MAX)
        return None if data is None else Claim.from_facts(data)

    def end(self) -> End | None:
        data = self._read(f"{END}/{FACTS}", FACTS_BYTES_MAX)
        return None if data is None else End.from_facts(data)

    def verdict(self) -> Verdict | None:
        """Return the end as it was told. Raises ValueError: damaged, or of a newer release."""
        data = self._read(f"{VERDICT}/{FACTS}")
        return None if data is None else Verdict.from_json(data)

    def beat_at_s(self) -> float | None:
        """Return when the launcher said last that it was there, by the clock of the storage."""
        with asking("read"):
            try:
                with (self.path / ALIVE).open("rb") as file:  # NFS asks the server when a file is opened
                    return os.fstat(file.fileno()).st_mtime
            except (FileNotFoundError, NotADirectoryError):
                return None

    def log_end(self, max_bytes: int) -> bytes:
        """Return the last bytes of the log; of no log, none."""
        with asking("read"):
            try:
                fd = os.open(self.path / LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
            with os.fdopen(fd, "rb") as file:
                file.seek(max(0, os.fstat(fd).st_size - max_bytes))
                return file.read(max_bytes)

    def said(self) -> str:
        """Return how the output of the batch script begins, which Slurm writes to as well."""
        data = self._read(SAID, FACTS_BYTES_MAX)
        return "" if data is None else data.decode(errors="replace")

    def _read(self, name: str, max_bytes: int = -1) -> bytes | None:
        with asking("read"):
            try:
                with (self.path / name).open("rb") as file:
                    return file.read(max_bytes)
            except (FileNotFoundError, NotADirectoryError):
                return None
