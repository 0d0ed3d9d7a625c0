"""A folder on the store that only pman's own user may look into, and how it is written. For the backends with one.

Every ``OSError`` that is no answer becomes ``Unavailable``; without its marker the store is not mounted, and an empty
folder says nothing about anybody.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pman_core.errors import Rejected, Unavailable

MARKER = ".mounted"


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Raise ``Unavailable`` for every ``OSError`` within."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the control folder cannot be {what}: {error}") from error


def make_private(store_base: Path, folder: Path) -> None:
    """Make ``folder``, some levels below ``store_base``, so that nobody else can look into any of these levels.

    Raises:
        Rejected: one of them belongs to somebody else, who could then make us start what he likes.
        Unavailable: the store base is not there, or cannot be written.
    """
    with asking("made"):
        if not store_base.is_dir():
            raise Unavailable(f"the store base {store_base} is not there")
        steps = folder.relative_to(store_base).parts
        for depth in range(1, len(steps) + 1):
            step = store_base.joinpath(*steps[:depth])
            with suppress(FileExistsError):
                step.mkdir(mode=0o700)
            fd = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                owner = os.fstat(fd).st_uid
                if owner != os.geteuid():
                    raise Rejected(f"{step} belongs to user {owner}, it must be ours (user {os.geteuid()})")
                os.fchmod(fd, 0o700)
            finally:
                os.close(fd)
        (folder / MARKER).touch(mode=0o600)


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file, and return when it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
