"""Why we killed a container, written into its own root before we kill it. Pure.

Labels cannot be changed, and the container may be asked after we, and Redis, are gone. Both ways it is a tar archive:
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/PutContainerArchive
"""

import io
import json
import tarfile
from collections.abc import Iterable

from backends._engine.state import Verdict
from pman_core.states import Reason

NAME = ".pman-ended"
FOLDER = "/"
OURS = frozenset({Reason.CANCELLED, Reason.TIME_LIMIT})
ARCHIVE_BYTES_MAX = 16 * 1024
"""Ours is smaller; a file of this name that the job itself has written may have any size."""


def pack(verdict: Verdict) -> bytes:
    """Return the archive that leaves ``verdict`` in the container."""
    content = json.dumps({"reason": verdict.ended_by_us, "message": verdict.message}).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(NAME)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def unpack(chunks: Iterable[bytes]) -> Verdict | None:
    """Return the verdict of an archive; ``None`` if it is not one of ours."""
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > ARCHIVE_BYTES_MAX:
            return None
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            content = tar.extractfile(NAME)
            said = json.loads(content.read() if content else b"")
            reason = Reason(said["reason"])
            return Verdict(reason, str(said["message"])) if reason in OURS else None
    except (tarfile.TarError, ValueError, KeyError, TypeError, RecursionError):  # a link to itself, a thousand brackets
        return None
