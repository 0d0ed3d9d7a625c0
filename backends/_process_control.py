"""The control folder of the process backend: what is on the disk, how it is read, and how names are taken and freed.

::

    <STOREBASE>/.pman/<instance>/          mode 0700: specs hold environments
        .mounted                           without this marker the store is not mounted, and nobody is "absent"
        <generation>.<nonce>/              prepared, not claimed: becomes <generation> by one rename, or is swept away
        <generation>/                      claimed for ever after: this generation never runs (again)
            state.json                     the whole truth in one small file, replaced atomically
            launch.json                    the spec and what the supervisor starts
            log                            stdout and stderr

A removed job leaves its folder with only ``state.json`` saying so: a launcher that slept meanwhile finds the name
taken. :func:`Control.claims` sweeps these tombstones away when the fence is over.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backends._private_folder import MARKER, asking, make_private, write_durably
from backends._process_state import JobState
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.request import CONTROL_FOLDER

STATE, LAUNCH, LOG = "state.json", "launch.json", "log"


class Control:
    """The control folder of one instance. Every ``OSError`` that is no answer becomes ``Unavailable``."""

    def __init__(self, store_base: Path, instance: str) -> None:
        self.base = store_base / CONTROL_FOLDER / instance

    def create(self) -> None:
        """Make the folder, if it is not there, so that nobody else can look into it.

        Raises:
            Rejected: it belongs to somebody else, who could then make us start what he likes.
        """
        make_private(self.base.parent.parent, self.base)

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """Give access to one file system for as long as it takes, so that all answers are of the same one.

        Raises:
            Unavailable: the folder or its marker is not there; the store is not mounted.
        """
        with asking("read"):
            fd = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.stat(MARKER, dir_fd=fd)
                yield Reader(fd)
            finally:
                os.close(fd)

    def probe(self) -> None:
        """Write and remove a file.

        Raises:
            Unavailable: the store is not mounted or cannot be written.
        """
        with self.reading(), asking("written"):
            probe = self.base / f"probe.{secrets.token_hex(8)}"
            probe.touch(mode=0o600)
            probe.unlink()

    def prepare(self, generation: str, files: Mapping[str, str]) -> Path:
        """Write a folder that one rename makes the control folder of ``generation``.

        Raises:
            Rejected: a generation that is not a plain name.
            Unavailable: the store is not mounted or cannot be written.
        """
        if not is_generation(generation):
            raise Rejected(f"a generation must be letters and digits, not {generation!r}")
        with self.reading(), asking("written"):
            prepared = self.base / f"{generation}.{secrets.token_hex(8)}"
            prepared.mkdir(mode=0o700)
            for name, text in files.items():
                write_durably(prepared / name, text.encode())
            return prepared

    def replace(self, state: JobState) -> None:
        """Put ``state`` in the place of the present one."""
        with asking("written"):
            fresh = self.base / state.generation / f"{STATE}.{secrets.token_hex(8)}"
            write_durably(fresh, _to_json(state).encode())
            fresh.rename(self.base / state.generation / STATE)

    def entomb(self, state: JobState) -> None:
        """Remove all that is left of an ended job, but keep its name taken."""
        self.replace(_tombstone(state))
        with asking("written"):
            _empty(self.base / state.generation, keep={STATE})

    def take_name(self, jid: str, generation: str) -> bool:
        """Take the name of a generation that is not here, so that it never will be. Returns whether it was free."""
        state = _tombstone(JobState(jid, generation, self.base.name))
        prepared = self.prepare(generation, {STATE: _to_json(state)})
        try:
            prepared.rename(self.base / generation)
        except OSError:
            _discard(prepared)
            return False
        return True

    def claims(self, reader: "Reader", sweep_before: float) -> Iterator[JobState | str]:
        """Yield the state of every job, or only its generation if the state is damaged.

        What was removed or prepared before ``sweep_before`` is swept away meanwhile: no launcher sleeps that long.
        """
        for name in reader.names():
            folder = self.base / name
            if not is_generation(name):
                if name != MARKER and reader.modified_at(name) < sweep_before:
                    _sweep_prepared(folder)
                continue
            try:
                state = reader.state(name)
            except ValueError:
                yield name
                continue
            if state is None:  # the rest of a tombstone
                with suppress(OSError):
                    folder.rmdir()
            elif state.removed_at is None:
                yield state
            elif state.removed_at < sweep_before:
                _discard(folder)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads below an open control folder."""

    fd: int

    def names(self) -> list[str]:
        with os.scandir(self.fd) as entries:
            return sorted(entry.name for entry in entries)

    def modified_at(self, name: str) -> float:
        try:
            return os.stat(name, dir_fd=self.fd).st_mtime
        except FileNotFoundError:
            return time.time()

    def state(self, generation: str) -> JobState | None:
        """Return the state of ``generation``, a tombstone too; ``None`` if nobody has ever claimed it.

        Raises:
            ValueError: the file is damaged, or of a newer release.
        """
        try:
            return JobState.from_json(self._read(generation, STATE))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def spec(self, generation: str) -> JobSpec | None:
        """Return the spec of a claimed job; ``None`` if it is damaged."""
        try:
            spec = JobSpec.from_json(json.loads(self._read(generation, LAUNCH))["job"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return spec if spec.generation == generation else None

    def log_end(self, generation: str, max_bytes: int) -> bytes:
        """Return the last bytes of the log; of no log, none."""
        try:
            fd = os.open(f"{generation}/{LOG}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return b""
        with os.fdopen(fd, "rb") as file:
            file.seek(max(0, os.fstat(fd).st_size - max_bytes))
            return file.read(max_bytes)

    def _read(self, generation: str, name: str) -> bytes:
        with os.fdopen(os.open(f"{generation}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd), "rb") as file:
            return file.read()


def is_generation(name: str) -> bool:
    """A generation is a file name of ours; a prepared folder has a dot in its name."""
    return name.isascii() and name.isalnum()


def _tombstone(state: JobState) -> JobState:
    return replace(state, removed_at=time.time(), error="")


def _to_json(state: JobState) -> str:
    return json.dumps(asdict(state))


def _empty(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in keep:
            path.unlink(missing_ok=True)


def _sweep_prepared(folder: Path) -> None:
    """Discard a prepared folder; by a rename first, so that a late launcher claims all of it or nothing."""
    swept = folder.with_name(f"{folder.name}.swept")
    with suppress(OSError):
        folder.rename(swept)
        _discard(swept)


def _discard(folder: Path) -> None:
    """Remove a folder that nobody needs; the state goes last, so that the name is never free with a log in it."""
    with suppress(OSError):
        _empty(folder, keep={STATE})
        _empty(folder, keep=set())
        folder.rmdir()
