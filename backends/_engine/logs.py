"""The engine's log stream: frames of stdout and stderr in one, and the bounded end of it.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (Stream format)
"""

import struct
from collections.abc import Iterable, Iterator

HEADER = struct.Struct(">BxxxL")


def frames(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the payloads of a stream of frames that arrives in chunks of any size; what is cut off is left out."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= HEADER.size:
            _, length = HEADER.unpack_from(buffer)
            end = HEADER.size + length
            if len(buffer) < end:
                break
            yield bytes(buffer[HEADER.size : end])
            del buffer[:end]


def end_of(payloads: Iterable[bytes], max_bytes: int) -> bytes:
    """Return the last ``max_bytes`` of ``payloads``; never holds much more than that."""
    end = bytearray()
    for payload in payloads:
        end += payload
        if len(end) > 2 * max_bytes:
            del end[:-max_bytes]
    return bytes(end[-max_bytes:])
