"""From a path of a request to a real folder below the store base, without ever following a symlink.

``request.py`` has refused ``..`` and absolute paths already, by their spelling. But a job may leave a symlink where
the next job's folder is to be, so every component is opened by itself, relative to the one before, as a folder and
not through a link. The store base itself is the administrator's and may be a symlink.
https://man7.org/linux/man-pages/man2/openat.2.html
"""

import errno
import os
import stat
from pathlib import Path

from pman_core.errors import Rejected, Unavailable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REFUSALS = {
    errno.EACCES: "is not accessible: permission denied",
    errno.EPERM: "is not accessible: operation not permitted",
    errno.ENAMETOOLONG: "has a name that is too long for the file system",
}


def resolve_beneath(
    base: Path, relative: str, field: str, *, create: bool = False, owner: tuple[int, int] | None = None
) -> Path:
    """Return the real absolute path of the folder ``relative`` below ``base``.

    With ``create`` what is missing is made, and the last folder, if it was made, given to ``owner`` (uid, gid).

    Raises:
        Rejected: it is missing, not a folder or not below ``base``; the message names ``field``.
        Unavailable: the store base is not there, or the file system does not answer.
    """
    parts = [part for part in relative.split("/") if part not in {"", "."}]
    if not parts or relative.startswith("/") or ".." in parts:
        raise Rejected(f"{field}: must name a folder below the store base, not {relative!r}")
    try:
        root = base.resolve(strict=True)
        folder_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"the store base {base} is not there: {error.strerror}") from error
    was_made = False
    try:
        for depth, part in enumerate(parts, start=1):
            try:
                parent_fd, (folder_fd, was_made) = folder_fd, _step(folder_fd, part, create=create)
            except OSError as error:
                raise _explain(error, field, "/".join(parts[:depth]), folder_fd, part) from error
            os.close(parent_fd)
        if was_made and owner is not None:
            try:
                os.fchown(folder_fd, *owner)
            except OSError as error:
                raise Rejected(f"{field}: cannot be given to user {owner[0]}: {error.strerror}") from error
    finally:
        os.close(folder_fd)
    return root.joinpath(*parts)


def _step(parent_fd: int, part: str, *, create: bool) -> tuple[int, bool]:
    """Open the folder ``part`` of an open folder; return it and whether it was made."""
    try:
        return os.open(part, _FOLDER, dir_fd=parent_fd), False
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(part, 0o755, dir_fd=parent_fd)
    except FileExistsError:  # another job's submit was faster, or it is a dangling symlink: opening it tells
        return os.open(part, _FOLDER, dir_fd=parent_fd), False
    return os.open(part, _FOLDER, dir_fd=parent_fd), True


def _explain(error: OSError, field: str, path: str, parent_fd: int, part: str) -> Rejected | Unavailable:
    match error.errno:
        case errno.ENOENT:
            return Rejected(f"{field}: there is no folder {path!r} below the store base")
        case errno.ENOTDIR | errno.ELOOP:
            what = "a symbolic link, and those are not followed" if _is_link(parent_fd, part) else "not a folder"
            return Rejected(f"{field}: {path!r} is {what}")
        case refused if refused in _REFUSALS:
            return Rejected(f"{field}: {path!r} {_REFUSALS[refused]}")
    return Unavailable(f"{field}: {path!r} cannot be opened now: {error.strerror}")


def _is_link(parent_fd: int, part: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=parent_fd, follow_symlinks=False).st_mode)
    except OSError:
        return False
