"""Why we killed a container, written into its own root before we kill it.

Labels cannot be changed, and the container may be asked after we, and Redis, are gone. Both ways it is a tar archive:
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/PutContainerArchive
"""

import io
import json
import logging
import tarfile
from collections.abc import Iterable

from backends._engine.client import Client, translated
from backends._engine.errors import Doing, NotThere
from backends._engine.state import Verdict
from pman_core.errors import BackendError, Rejected, Unparseable
from pman_core.states import Reason

log = logging.getLogger(__name__)

NAME = ".pman-ended"
FOLDER = "/"
OURS = frozenset({Reason.CANCELLED, Reason.TIME_LIMIT})
ARCHIVE_BYTES_MAX = 16 * 1024
"""Ours is smaller; a file of this name that the job itself has written may have any size."""


def leave(client: Client, container_id: str, verdict: Verdict) -> None:
    """Leave the verdict in the container. One that cannot be written does not keep it from being killed."""
    try:
        with translated(Doing.END):
            client.put_archive(container_id, FOLDER, pack(verdict))
    except NotThere:
        raise
    except BackendError as error:
        log.warning("it will not be told why container %s was ended: %s", container_id, error)


def find(client: Client, container_id: str) -> Verdict | None:
    """Return the verdict that we have left in a container; ``None``: none that can be read."""
    try:
        with translated(Doing.ASK):
            chunks, _ = client.get_archive(container_id, f"{FOLDER}{NAME}")
            return unpack(chunks)
    except (NotThere, Rejected, Unparseable):
        return None


def pack(verdict: Verdict) -> bytes:
    """Return the archive that leaves ``verdict`` in the container. Pure."""
    content = json.dumps({"reason": verdict.ended_by_us, "message": verdict.message}).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(NAME)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def unpack(chunks: Iterable[bytes]) -> Verdict | None:
    """Return the verdict of an archive; ``None`` if it is not one of ours. Pure."""
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
