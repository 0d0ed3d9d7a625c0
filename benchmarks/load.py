"""A lean HTTP load: keep-alive connections that send ready-made requests, with nothing between them and the socket."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
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
    return _request("POST", "", f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n") + body


def get_bytes(jid: str) -> bytes:
    return _request("GET", f"{jid}/")


def delete_bytes(jid: str) -> bytes:
    return _request("DELETE", f"{jid}/")


def post_all(port: int, jids: Sequence[str], clients: int, env: Sequence[str] = ()) -> None:
    """POST a job for each jid over ``clients`` connections that never pause."""
    send_all(port, [post_bytes(jid, env) for jid in jids], clients)


def send_all(port: int, requests: Sequence[bytes], clients: int) -> None:
    """Send them over ``clients`` connections that never pause. Raises if one is refused."""
    shared = iter(requests)

    async def client() -> None:
        async with _connected(port) as (reader, writer):
            for request in shared:
                writer.write(request)
                await _read_reply(reader)

    asyncio.run(_together(client, clients))


def get_paced(port: int, jids: Sequence[str], per_s: float, is_over: Callable[[], bool]) -> list[float]:
    """GET one of ``jids`` after the other at a steady rate until ``is_over``; return how long each took, in seconds.

    Clients of ChRIS poll at a rate of their own and do not wait for one another: 1,000 jobs every 5 s are 200 per s.
    """
    took_s: list[float] = []
    shared = enumerate(cycle(jids))

    async def client() -> None:
        async with _connected(port) as (reader, writer):
            for number, jid in shared:
                await asyncio.sleep(max(0.0, begin_s + number / per_s - time.perf_counter()))
                if is_over():
                    return
                asked_s = time.perf_counter()
                writer.write(get_bytes(jid))
                await _read_reply(reader)
                took_s.append(time.perf_counter() - asked_s)

    begin_s = time.perf_counter()
    asyncio.run(_together(client, PACED_CLIENTS))
    return took_s


def _request(method: str, path: str, headers: str = "") -> bytes:
    return f"{method} /api/v1/{path} HTTP/1.1\r\nHost: pman\r\n{headers}\r\n".encode()


async def _together(client: Callable[[], Awaitable[None]], clients: int) -> None:
    await asyncio.gather(*(client() for _ in range(clients)))


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _read_reply(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if not status.startswith(b"2"):
        raise RuntimeError(f"a request was answered {status.decode()}")
    if status != b"204":
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
