"""The mark that tells why pman killed a container, and files of its name that somebody else has written."""

import io
import itertools
import tarfile

import pytest

from backends._engine.marks import NAME, pack, unpack
from backends._engine.state import Verdict
from pman_core.states import Reason


@pytest.mark.parametrize("reason", [Reason.CANCELLED, Reason.TIME_LIMIT])
def test_a_mark_comes_back(reason: Reason) -> None:
    verdict = Verdict(reason, "ended, für immer")
    archive = pack(verdict)
    assert unpack([archive]) == verdict
    assert unpack(archive[at : at + 7] for at in range(0, len(archive), 7)) == verdict


def archive_of(content: bytes | None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(NAME)
        if content is None:
            entry.type = tarfile.DIRTYPE
        else:
            entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 9000,
        b'{"reason": "NODE_FAIL", "message": ""}',
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"reason": "NO_SUCH", "message": ""}',
        b'{"reason": "CANCELLED"}',
        None,
    ],
)
def test_what_somebody_else_wrote_says_nothing(content: bytes | None) -> None:
    assert unpack([archive_of(content)]) is None


def test_a_link_to_itself_says_nothing() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(NAME)
        entry.type, entry.linkname = tarfile.SYMTYPE, NAME
        tar.addfile(entry)
    assert unpack([buffer.getvalue()]) is None


def test_what_is_no_archive_says_nothing() -> None:
    assert unpack([b"x" * 2000]) is None
    assert unpack([]) is None


def test_an_endless_file_is_not_read() -> None:
    assert unpack(itertools.repeat(b"x" * 1024)) is None
