"""The engine's log stream: frames of stdout and stderr in one, and the bounded end of it.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (Stream format)
"""

import struct
import time
from collections.abc import Iterable, Iterator
from math import inf

from backends._engine.client import Client, translated
from backends._engine.errors import Doing, NotThere
from pman_core.errors import Unavailable

HEADER = struct.Struct(">BxxxL")
SYSTEM_ERROR = 3
"""The stream in which the engine itself says why the log cannot be read (any further), after its reply 200."""


def read_end(client: Client, path: str, lines: str, max_bytes: int, timeout_s: float = inf) -> bytes:
    """Return the end of the log at ``path``, of so many ``lines`` or of ``all``; nothing if the engine has no such log.

    It may be one byte more than ``max_bytes``, which tells a log that is cut from one that is not.

    Raises:
        Unavailable: the engine could not read it, or not in time.
    """
    try:
        with translated(Doing.ASK), client.get_stream(path, stdout="1", stderr="1", tail=lines) as response:
            return end_of(frames(in_time(response.iter_content(65536), timeout_s)), max_bytes + 1)
    except NotThere:
        return b""


def frames(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the payloads of a stream of frames that arrives in chunks of any size; what is cut off is left out.

    Raises:
        Unavailable: the engine could not read the log.
    """
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= HEADER.size:
            kind, length = HEADER.unpack_from(buffer)
            end = HEADER.size + length
            if len(buffer) < end:
                break
            payload = bytes(buffer[HEADER.size : end])
            if kind == SYSTEM_ERROR:
                raise Unavailable(payload.decode(errors="replace").strip())
            yield payload
            del buffer[:end]


def in_time(chunks: Iterable[bytes], timeout_s: float) -> Iterator[bytes]:
    """Yield ``chunks`` as long as they all come in time.

    Raises:
        Unavailable: they do not.
    """
    until_s = time.monotonic() + timeout_s
    for chunk in chunks:
        if time.monotonic() > until_s:
            raise Unavailable(f"the log is too long to be read within {timeout_s:g} s")
        yield chunk


def end_of(payloads: Iterable[bytes], max_bytes: int) -> bytes:
    """Return the last ``max_bytes`` of ``payloads``; never holds much more than that."""
    end = bytearray()
    for payload in payloads:
        end += payload
        if len(end) > 2 * max_bytes:
            del end[:-max_bytes]
    return bytes(end[-max_bytes:])
