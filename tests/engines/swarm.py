"""A private swarm for tests, with jobs on chosen nodes of it, and nodes that die, freeze and are cut off."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
from docker.errors import APIError

from backends.swarm import SwarmBackend, SwarmSettings
from pman_core.backend import JobRef, Observed, Sighting, Unknown
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State
from testbed.private_swarm import PrivateSwarm
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.patient import PatientSwarm


class Nodes:
    """The swarm, and jobs on chosen nodes of it."""

    def __init__(self, swarm: PrivateSwarm, store_base: Path, workers: tuple[str, ...]) -> None:
        self.swarm = swarm
        self.api = docker.APIClient(swarm.url, version="auto", timeout=int(PATIENCE_S))
        self.workers = workers
        self._store_base = store_base
        self._backends: list[SwarmBackend] = []
        self._undo: list[Callable[[], None]] = []
        self._jobs = 0

    def set_up(self, **settings: dict[str, int]) -> None:
        """Change settings of the whole swarm."""

        def change() -> None:
            told = self.api.inspect_swarm()
            url, version = self.api._url("/swarm/update"), told["Version"]["Index"]
            reply = self.api._post_json(url, data=told["Spec"] | settings, params={"version": version})
            self.api._raise_for_status(reply)

        in_time("the swarm is set up", change)

    def set_availability(self, node: str, availability: str) -> None:
        def change() -> None:
            listed = self._node(node)
            index, spec = listed["Version"]["Index"], listed["Spec"]
            self.api.update_node(listed["ID"], index, spec | {"Availability": availability})

        in_time(f"{node} is {availability}", change)

    def change(self, spec: JobSpec, **changes: Any) -> None:
        """Change a job's service as an administrator may: its ``Mode``, or ``ForceUpdate`` to run it again."""

        def change() -> None:
            service = self.api.inspect_service(spec.native_name)
            old = service["Spec"]
            template = old["TaskTemplate"] | {"ForceUpdate": changes.get("ForceUpdate", 0)}
            self.api.update_service(
                service["ID"],
                service["Version"]["Index"],
                task_template=template,
                name=old["Name"],
                labels=old["Labels"],
                mode=changes.get("Mode", old["Mode"]),
            )

        in_time(f"the service of {spec.jid} is changed", change)

    def remove_node(self, node: str) -> None:
        self.api.remove_node(self._node(node)["ID"], force=True)

    def _node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(node for node in self.api.nodes() if node["Description"].get("Hostname") == name)
        return found

    def backend(self, node: str = "", **own: Any) -> SwarmBackend:
        """Open one more backend; its jobs run on ``node``."""
        common = Settings(
            container_env="swarm", storebase=self._store_base, pman_instance="nodes", docker_host=self.swarm.url
        )
        backend = PatientSwarm(common, SwarmSettings(swarm_constraints=f"node.hostname=={node}" if node else "", **own))
        backend.open()
        self._backends.append(backend)
        return backend

    def spec(self, script: str, **fields: Any) -> JobSpec:
        """Return a job that writes a line to ``runs`` and then runs ``script``; ``$0`` is its output folder."""
        self._jobs += 1
        jid = f"job-{self._jobs}"
        values: dict[str, Any] = {
            "auid": "nodes",
            "number_of_workers": 1,
            "cpu_limit": 100,
            "memory_limit": 64,
            "gpu_limit": 0,
            "image": "busybox:test",
            "type": "fs",
            "input_dir": f"{jid}/in",
            "output_dir": f"{jid}/out",
        }
        entrypoint = ("sh", "-c", f'echo ran >> "$0/runs"; {script}')
        request = JobRequest(jid=jid, entrypoint=entrypoint, **(values | fields))
        for folder in (request.input_dir, request.output_dir):
            (self._store_base / folder).mkdir(parents=True)
        return JobSpec(mint_generation(), "nodes", request)

    def run(self, script: str, node: str = "", **fields: Any) -> JobSpec:
        """Return a job that has begun; a short one may have ended, too."""
        spec = self.spec(script, **fields)
        backend = self.backend(node)
        backend.submit(spec)
        seen(backend, spec, State.RUNNING, *TERMINAL)
        wait_for("the job has begun", lambda: self.runs(spec), PATIENCE_S)
        return spec

    def output(self, spec: JobSpec) -> Path:
        return self._store_base / spec.request.output_dir

    def runs(self, spec: JobSpec) -> int:
        path = self.output(spec) / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def alive(self, spec: JobSpec) -> bool:
        """Whether any process of the job lives, on whatever node."""
        mark = f" {self.output(spec).resolve()} /share/outgoing "
        return any(mark in _mounts(process) for process in Path("/proc").glob("[0-9]*"))

    def state_of(self, node: str) -> str:
        found = [listed for listed in self.api.nodes() if listed["Description"].get("Hostname") == node]
        return str(found[-1]["Status"]["State"]) if found else ""

    def silence(self, node: str, how: str) -> None:
        """Take a node away, and wait until the swarm has noticed."""
        match how:
            case "killed":
                self.swarm.signal(node, signal.SIGKILL)
            case "frozen":
                self.swarm.signal(node, signal.SIGSTOP)
                self._undo.append(lambda: self.swarm.signal(node, signal.SIGCONT))
            case "cut off":
                self.swarm.cut(node)
                self._undo.append(lambda: self.swarm.join(node))
        wait_for(f"{node} is down", lambda: self.state_of(node) == "down", PATIENCE_S)

    def restore(self) -> None:
        """Bring every node back."""
        while self._undo:
            self._undo.pop()()
        self.swarm.start()  # what does not run
        for node in self.workers:
            wait_for(f"{node} is ready", lambda node=node: self.state_of(node) == "ready", PATIENCE_S)  # type: ignore[misc]

    def clean(self) -> None:
        """Remove every job."""
        for backend in self._backends[:1]:
            for owned in list(backend.owned()):
                backend.remove(owned.observed.jid, owned.observed.generation)
        for backend in self._backends:
            backend.close()
        self._backends = []


@contextmanager
def private_swarm(workers: int, *options: str, heartbeat_s: int = 10) -> Iterator[Nodes]:
    """Yield a swarm whose manager has the ``options``.

    It calls a node down that is silent for three heartbeats; a machine that is busy may miss short ones.
    """
    with TemporaryDirectory(prefix="pman-nodes-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        private = PrivateSwarm(workers, *options)
        try:
            private.start()
            nodes = Nodes(private, Path(folder), tuple(f"w{number}" for number in range(1, workers + 1)))
            nodes.set_up(Dispatcher={"HeartbeatPeriod": heartbeat_s * 10**9})
            yield nodes
            nodes.api.close()
        finally:
            private.close()


def in_time(what: str, change: Callable[[], None]) -> None:
    """Change what the swarm changes, too: a change to what has been read before another change is refused."""

    def is_made() -> bool:
        try:
            change()
        except APIError as error:
            if "out of sequence" not in str(error):
                raise
            return False
        return True

    wait_for(what, is_made, PATIENCE_S)


def look(backend: SwarmBackend, spec: JobSpec) -> Sighting:
    return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]


def seen(backend: SwarmBackend, spec: JobSpec, *states: State) -> Observed:
    """Wait until the job is in one of ``states`` (any terminal one if none is given)."""
    wanted = frozenset(states) or TERMINAL

    def observed() -> Observed | None:
        sighting = look(backend, spec)
        assert isinstance(sighting, Observed | Unknown), sighting
        return sighting if isinstance(sighting, Observed) and sighting.state in wanted else None

    return wait_for(f"{spec.jid} in {sorted(wanted)}", observed, PATIENCE_S)


def _mounts(process: Path) -> str:
    try:
        return (process / "mountinfo").read_text()
    except OSError:
        return ""
