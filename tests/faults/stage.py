"""The system under fire, with the handles by which faults get hold of it, and the questions asked when it is quiet."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import redis
import requests

from pman_core.broker import RESTORE_MUTEX_S, VISIBILITY_TIMEOUT_S
from pman_core.queues import key_prefix
from testbed.redis_proxy import RedisProxy
from testbed.system import System, wait_for
from tests.faults.world import World
from tests.faults.worlds import WORLDS

INSTANCE = "chaos"
WORKERS = ("worker-1", "worker-2", "worker-3")
OBSERVERS = ("observer-1", "observer-2")
API_PROCESSES = 3
GRACE_S = 25.0
"""So long a process that is told to end may take: Celery's soft shutdown and a submit under way."""
ACCEPTED_S = 5.0
RECOVERY = {"RECONCILE_S": "1", "REQUEUE_S": "1", "OBSERVER_LEASE_S": "3", "LOST_GRACE_S": "5"}
"""As in the end-to-end tests: the same mechanisms, with less patience, so that a night takes minutes."""
REDIS_TIMEOUT_S = 3.0
"""Longer than a busy machine lets a Redis wait that is well: no 503 is excused without a fault."""
LEASES = {
    "process": {"SUBMIT_LEASE_S": "12", "SUBMIT_FENCE_S": "20"},
    "mock": {"SUBMIT_LEASE_S": "32", "SUBMIT_FENCE_S": "40"},
    "docker": {"SUBMIT_LEASE_S": "45", "SUBMIT_FENCE_S": "55"},
    "kubernetes": {"SUBMIT_LEASE_S": "45", "SUBMIT_FENCE_S": "55"},
    "cromwell": {"SUBMIT_LEASE_S": "60", "SUBMIT_FENCE_S": "70"},
}
"""A lease must be longer than the time-out of a submit on that backend."""
UNACKED_MAX_S = VISIBILITY_TIMEOUT_S + 2 * RESTORE_MUTEX_S
"""By then the messages of a killed worker have come back, even if the one that was to bring them was killed at it."""
LASTING = re.compile(r"tomb:.*|epoch:.*|leader:.*|backend:.*|ping|jobs|_kombu\.binding.*|unacked(_index|_mutex)?")


class Stage:
    """All of pman on one backend, in one folder."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder = folder
        leases = LEASES[backend]
        env = RECOVERY | leases | {"PMAN_INSTANCE": INSTANCE, "REDIS_TIMEOUT_S": str(REDIS_TIMEOUT_S)}
        self.lease_s = float(leases["SUBMIT_LEASE_S"])
        self.system = System(folder, backend, env, behind_proxy=True)
        self.world: World = WORLDS[backend](folder, INSTANCE)
        self.redis = redis.Redis(port=self.system.redis_port, decode_responses=True, socket_timeout=30)
        self._prefix = key_prefix(INSTANCE)
        self.known_generations: Callable[[], list[tuple[str, str, bool]]] = list
        """Set by the clients: jid, generation and whether it is deleted, of every job there ever was."""
        self.accepted: Callable[[], int] = int
        """Set by the clients, too: how many POSTs were answered by 201."""
        self.api_restarts: list[tuple[float, float]] = []
        """When the API as a whole was ended and started anew, from and until."""
        self.deaths: list[str] = []
        """Processes of pman that have ended and that nobody had told to."""

    @property
    def proxy(self) -> RedisProxy:
        if self.system.proxy is None:
            raise TypeError("the system is behind a proxy")
        return self.system.proxy

    @property
    def names(self) -> list[str]:
        """Every process of pman that is to run."""
        return [*WORKERS, "control", *OBSERVERS, "api", *(["pull"] if self.world.pulls else [])]

    def start(self) -> None:
        self.system.env |= self.world.prepare()
        self.system.start_redis()
        self.system.start_api(API_PROCESSES)
        for name in WORKERS:
            self.system.start_worker(name)
        self.system.start_control_worker()
        if self.world.pulls:
            self.system.start_pull_worker()
        for name in OBSERVERS:
            self.system.start_observer(name)
        self.system.wait_ready()

    def close(self) -> None:
        try:
            self.system.close()
        finally:
            self.world.close()

    # Handles for faults

    def wait_accepted(self) -> None:
        """Return when one more job was accepted, or when that takes too long."""
        before, end_s = self.accepted(), time.monotonic() + ACCEPTED_S
        while self.accepted() == before and time.monotonic() < end_s:
            time.sleep(0.005)

    def signal_redis(self, number: signal.Signals) -> None:
        os.kill(self.redis_pid(), number)

    def redis_pid(self) -> int:
        """Return the server's process, whether it answers or not."""
        port = str(self.system.redis_port)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                arguments = process.cmdline()
                if arguments and "valkey-server" in arguments[0] and port in " ".join(arguments):
                    return int(process.pid)
        raise ProcessLookupError("no Redis runs")

    def api_answers(self) -> bool:
        try:
            return requests.get(f"{self.system.url}/health/", timeout=2).ok
        except requests.RequestException:
            return False

    def wait_api(self) -> None:
        """Wait until the API answers that was started: how long that takes, the machine decides."""
        wait_for("the API answers", self.api_answers)

    def gunicorn_workers(self) -> list[psutil.Process]:
        return psutil.Process(self.system.processes["api"].pid).children()

    def note_death(self, name: str) -> None:
        """Write down that a process is found dead; whoever ends it on purpose asks this first."""
        code = self.system.processes[name].poll()
        if code is not None:
            log = self.system.output(name).rstrip().splitlines()
            self.deaths.append(f"{name} has ended by itself with {code}: {log[-1] if log else ''}")

    def restart_gracefully(self, name: str) -> None:
        """End a process as an administrator does, and start it anew."""
        self.note_death(name)
        process, began_s = self.system.processes[name], time.time()
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.system.kill(name)
        self.system.restart(name)
        if name == "api":
            self.wait_api()
            self.api_restarts.append((began_s, time.time()))

    # Questions

    def left_in_store(self) -> list[str]:
        """Return what is not at rest. Empty means quiet."""
        backend, prefix, now_ms = self.system.backend, self._prefix, time.time() * 1000
        left = []
        for index in ("waiting", "running", "obligations"):
            members = self.redis.zrange(f"{prefix}{index}:{backend}", 0, -1)
            left += [f"{index}: {member}" for member in members]
        for key in self.redis.scan_iter(f"{prefix}pman.{backend}.*", count=1000):
            left.append(f"{self.redis.llen(key)} messages in {key.removeprefix(prefix)}")
        for key in self.redis.scan_iter(f"{prefix}job:*", count=1000):
            if float(self.redis.hget(key, "lease_until") or 0) > now_ms and self.redis.hexists(key, "lease"):
                left.append(f"live lease: {key.removeprefix(prefix)}")
        return left

    def keys_left(self) -> list[str]:
        """Return the keys that should not be there when no job is."""
        return [f"{key}: {why}" for key, why in self._keys_left()]

    def _keys_left(self) -> Iterator[tuple[str, str]]:
        for key in self.redis.scan_iter(count=1000):
            name = key.removeprefix(self._prefix)
            if name == key or not LASTING.fullmatch(name):
                yield key, "no such key is known"
            elif name == "jobs":
                yield key, f"{self.redis.zcard(key)} members"
            elif name.startswith("tomb:"):
                fields = self.redis.hgetall(key)
                if set(fields) != {"upto"} or self.redis.ttl(key) <= 0:
                    yield key, f"{fields}, expires in {self.redis.ttl(key)} s"
            elif name == "unacked_index":
                old = self.redis.zrangebyscore(key, "-inf", time.time() - UNACKED_MAX_S)
                if old:
                    yield key, f"messages that never came back: {old[:5]}"
