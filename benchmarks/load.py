"""A lean HTTP load: keep-alive connections that POST ready-made bodies, with nothing between them and the socket."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence

BODY = {
    "args": ["--saveinputmeta"],
    "args_path_flags": [],
    "auid": "cube",
    "number_of_workers": "1",
    "cpu_limit": "1000",
    "memory_limit": "200",
    "gpu_limit": "0",
    "image": "fnndsc/pl-simplefsapp:2.1.0",
    "entrypoint": ["python3", "/usr/local/bin/simplefsapp"],
    "type": "fs",
    "env": [],
    "input_dir": "key-6f1ed9cf/incoming",
    "output_dir": "key-6f1ed9cf/outgoing",
}
"""What pfcon sends for a small plugin."""


def post_bytes(jid: str) -> bytes:
    body = json.dumps(BODY | {"jid": jid}).encode()
    head = (
        f"POST /api/v1/ HTTP/1.1\r\nHost: pman\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _client(port: int, requests: Iterator[bytes], took_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        began_s = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took_s.append(time.perf_counter() - began_s)
        status = head.split(b" ", 2)[1]
        if status != b"201":
            raise RuntimeError(f"a POST was answered {status.decode()}")
    writer.close()


def post_all(port: int, jids: Sequence[str], clients: int) -> list[float]:
    """POST a job for each jid over ``clients`` connections; return how long each took, in seconds."""
    took_s: list[float] = []
    requests = iter([post_bytes(jid) for jid in jids])

    async def all_clients() -> None:
        await asyncio.gather(*(_client(port, requests, took_s) for _ in range(clients)))

    asyncio.run(all_clients())
    return took_s
