"""A lean HTTP load: keep-alive connections that send ready-made requests, with nothing between them and the socket."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

PACED_CLIENTS = 8
"""Enough to keep the rate while some wait."""
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


def post_bytes(jid: str, env: Sequence[str] = ()) -> bytes:
    body = json.dumps({**BODY, "jid": jid, "env": list(env)}).encode()
    head = (
        f"POST /api/v1/ HTTP/1.1\r\nHost: pman\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _client(port: int, requests: Iterator[bytes], took_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        began_s = time.perf_counter()
        writer.write(request)
        await _read_reply(reader, b"201")
        took_s.append(time.perf_counter() - began_s)
    writer.close()


async def _read_reply(reader: asyncio.StreamReader, expected: bytes) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    status = head.split(b" ", 2)[1]
    if status != expected:
        raise RuntimeError(f"a request was answered {status.decode()}")


def post_all(port: int, jids: Sequence[str], clients: int, env: Sequence[str] = ()) -> list[float]:
    """POST a job for each jid over ``clients`` connections; return how long each took, in seconds."""
    took_s: list[float] = []
    requests = iter([post_bytes(jid, env) for jid in jids])

    async def all_clients() -> None:
        await asyncio.gather(*(_client(port, requests, took_s) for _ in range(clients)))

    asyncio.run(all_clients())
    return took_s


async def _paced_client(
    port: int, requests: Iterator[tuple[float, bytes]], begin_s: float, took_s: list[float]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for due_s, request in requests:
        await asyncio.sleep(max(0.0, begin_s + due_s - time.perf_counter()))
        asked_s = time.perf_counter()
        writer.write(request)
        await _read_reply(reader, b"200")
        took_s.append(time.perf_counter() - asked_s)
    writer.close()


def get_paced(port: int, jids: Sequence[str], per_s: float, is_over: Callable[[], bool]) -> list[float]:
    """GET one of ``jids`` after the other at a steady rate until ``is_over``; return how long each took, in seconds.

    Clients of ChRIS poll at a rate of their own and do not wait for one another: 1,000 jobs every 5 s are 200 per s.
    """
    took_s: list[float] = []

    def requests() -> Iterator[tuple[float, bytes]]:
        for number, jid in enumerate(cycle(jids)):
            if is_over():
                return
            yield number / per_s, f"GET /api/v1/{jid}/ HTTP/1.1\r\nHost: pman\r\n\r\n".encode()

    async def all_clients() -> None:
        begin_s, shared = time.perf_counter(), requests()
        await asyncio.gather(*(_paced_client(port, shared, begin_s, took_s) for _ in range(PACED_CLIENTS)))

    asyncio.run(all_clients())
    return took_s
