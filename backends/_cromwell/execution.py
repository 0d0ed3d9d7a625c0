"""The execution folder that Cromwell makes for a workflow: what is read there, where it can be, and its removal.

It is on storage that pman need not see: what cannot be read or removed is left.
https://cromwell.readthedocs.io/en/stable/backends/HPC/
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from backends._cromwell.replies import Account

log = logging.getLogger(__name__)

SUFFIXES = ("", ".submit", ".background")
"""Of the call's ``stderr``: its own, that of the command which submitted it or which ran it in the background."""
_NAMED = re.compile(r"possible errors: (/.*stderr\.submit)\b")


def notes(native_id: str, account: Account, bytes_max: int) -> str:
    """Return the end of what was said on the call's stderr: by our launcher, by the batch system, never by the job."""
    said = (_read_end(path, bytes_max) for path in _notes_of(native_id, account))
    return "\n".join(text.decode(errors="replace").strip() for text in said if text.strip())


def bury(native_id: str, account: Account) -> None:
    """Remove the execution folder of an ended workflow."""
    root = Path(account.workflow_root)
    if root.name != native_id or root.is_symlink() or not root.is_dir():
        return
    shutil.rmtree(root, ignore_errors=True)
    if root.exists():
        log.warning("an execution folder of Cromwell cannot be removed: %s", root)


def _notes_of(native_id: str, account: Account) -> Iterator[Path]:
    named = [f"{account.stderr}{suffix}" for suffix in SUFFIXES] if account.stderr else []
    for message in account.messages:
        named += _NAMED.findall(message)
    for path in map(Path, dict.fromkeys(named)):
        if native_id in path.parts:
            yield path


def _read_end(path: Path, bytes_max: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            file.seek(max(0, os.fstat(fd).st_size - bytes_max))
            return file.read(bytes_max)
    except OSError:
        return b""
