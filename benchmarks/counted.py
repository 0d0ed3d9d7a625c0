"""The mock with every call counted, as a backend of a third party: found by its entry point, by real processes too.

``CONTAINER_ENV=counted``, and :func:`install` for where Python looks for packages.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backends.mock import MockBackend
from pman_core.backend import Handle, Health, JobRef, Owned, Sighting, WatchEvent
from pman_core.job import JobSpec

ENV_NAME = "counted"
SHARED = frozenset({"observe", "owned", "health", "watch", "cursor"})
"""Calls that are made for all jobs at once, or for none."""


class CountedMock(MockBackend):
    """Notes each call in a file beside the scheduler, one line each."""

    name = ENV_NAME

    def _count(self, call: str) -> None:
        fd = os.open(_log(self._folder.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{call}\n".encode())
        os.close(fd)

    def submit(self, spec: JobSpec) -> Handle:
        self._count("submit")
        return super().submit(spec)

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        self._count("observe")
        return super().observe(refs)

    def owned(self) -> Iterator[Owned]:
        self._count("owned")
        return super().owned()

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        self._count("logs")
        return super().logs(ref, tail_lines, max_bytes)

    def end(self, jid: str, generation: str) -> None:
        self._count("end")
        super().end(jid, generation)

    def remove(self, jid: str, generation: str) -> bool:
        self._count("remove")
        return super().remove(jid, generation)

    def health(self) -> Health:
        self._count("health")
        return super().health()

    def cursor(self) -> str:
        self._count("cursor")
        return super().cursor()

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        self._count("watch")
        return super().watch(cursor, stop)


def calls(mock_dir: Path) -> Counter[str]:
    """Return how often each call was made of the scheduler in ``mock_dir``."""
    log = _log(mock_dir)
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def install(folder: Path) -> None:
    """Make ``folder`` what ``pip install`` would leave of a package with this backend; it belongs on the path."""
    info = folder / "counted-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counted\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pman.backends]\n{ENV_NAME} = {__name__}\n")


def _log(mock_dir: Path) -> Path:
    return mock_dir / "calls"
