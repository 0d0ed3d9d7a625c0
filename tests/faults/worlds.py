"""The backends that can be put under fire: how a job is written for each, and where the truth about it is read.

A new backend is one small class here and one entry in WORLDS. Its native view must not go through pman's own code
for that scheduler more than it has to: it is the audit's second source.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import docker
import psutil

from backends._mock_folder import Folder
from backends._mock_script import condition_at
from testbed import kit
from testbed.cluster import kubeconfig
from testbed.engine_proxy import EngineProxy
from testbed.private_engine import PrivateEngine
from testbed.redis_proxy import RedisProxy
from tests.engines.kube import cluster
from tests.faults.cromwell_world import CromwellWorld
from tests.faults.evidence import Body, Native, Traces
from tests.faults.world import World, lines

EXITED = re.compile(r"Exited \((\d+)\)")


class ProcessWorld(World):
    backend = "process"
    image = "any"

    @property
    def _disk(self) -> Path:
        return self.store_base / ".pman"

    def prepare(self) -> Mapping[str, str]:
        """Give the control folders a small disk of their own, to be filled and made read-only at will."""
        self._disk.mkdir()
        if os.geteuid() == 0:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m,mode=700", "chaos", self._disk], check=True)
        return {}

    def close(self) -> None:
        for process, _ in self._ours():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._disk.is_mount():
            subprocess.run(["umount", "--lazy", self._disk], check=True)

    def natives(self) -> list[Native]:
        found = []
        for folder in sorted((self.store_base / ".pman" / self.instance).iterdir()):
            if not folder.name.isalnum():
                continue
            with suppress(FileNotFoundError):  # the rest of a tombstone
                state = json.loads((folder / "state.json").read_text())
                if state.get("removed_at") is None:
                    native = "running" if state.get("finished_at") is None else "ended"
                    found.append(Native(state["jid"], state["generation"], native, state.get("exit_code")))
        return found

    def supervisors(self) -> Iterator[tuple[psutil.Process, str]]:
        """Yield every living supervisor with its generation."""
        for process, arguments in self._ours():
            prepared = Path(arguments[-1])
            if prepared.parent.name == self.instance:
                yield process, prepared.name.partition(".")[0]

    def processes(self) -> list[str]:
        return [f"{process.pid}: {' '.join(arguments)[:200]}" for process, arguments in self._ours()]

    def _ours(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Supervisors name their control folder, jobs run in their output folder, and both are below the store base."""
        inside = f"{self.store_base}/"
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                arguments = process.cmdline()
                if arguments and (arguments[-1].startswith(inside) or process.cwd().startswith(inside)):
                    yield process, arguments


class MockWorld(World):
    backend = "mock"
    entrypoint = ("mock-trace",)
    image = "any"

    @property
    def scheduler(self) -> Folder:
        return Folder(self.folder / "mock")

    def request(self, body: Body) -> dict[str, Any]:
        script = {"MOCK_PENDING_FOR_S": 0.1, "MOCK_RUN_FOR_S": body.seconds, "MOCK_EXIT_CODE": body.exit_code}
        return super().request(body) | {"env": [f"{name}={value}" for name, value in script.items()]}

    def traces(self, bodies: Sequence[Body]) -> dict[str, Traces]:
        """Return what the program ``mock-trace`` has written at each begin. Nothing runs, so nothing writes at its end:

        of what was ended by force the scheduler's journal tells; everything else comes to its own end.
        """
        entries = map(json.loads, self.scheduler.journal.read_text().splitlines())
        forced = {entry["id"] for entry in entries if entry["event"] == "end"}
        begun = {body.tag: lines(self.store_base / body.output_dir / "begins") for body in bodies}
        return {tag: Traces(lines, [line for line in lines if line not in forced]) for tag, lines in begun.items()}

    def natives(self) -> list[Native]:
        found = []
        for generation in self.scheduler.generations():
            loaded = self.scheduler.load(generation)
            if loaded is None:
                continue
            job, plan = loaded
            now_s = time.time()
            condition = condition_at(plan, now_s)
            if not plan.is_gone(now_s):
                state = "ended" if condition.finished_at_s is not None else condition.state.lower()
                found.append(Native(job.jid, generation, state, condition.exit_code))
        return found


class DockerWorld(World):
    """A private engine, to be killed and stopped at will, behind a proxy. Needs root."""

    backend = "docker"
    pulls = True

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self._last = ExitStack()

    def prepare(self) -> Mapping[str, str]:
        # With live-restore containers outlive their engine: then there is one true end for each job.
        self.engine = PrivateEngine("--live-restore")
        self._last.callback(self.engine.close)
        self.engine.start()
        self.proxy = EngineProxy(self.engine.socket, self.engine.folder / "proxy.sock")
        self._last.callback(self.proxy.close)
        return {"DOCKER_HOST": self.proxy.url, "ENGINE_TIMEOUT_S": "10"}

    def make_folders(self, body: Body) -> None:
        super().make_folders(body)
        (self.store_base / body.output_dir).chmod(0o777)

    def natives(self) -> list[Native]:
        label = f"org.chrisproject.pman.instance={self.instance}"
        found = []
        with closing(docker.APIClient(self.engine.url, version="auto", timeout=30)) as client:
            for container in client.containers(all=True, filters={"label": [label]}):
                labels, state = container["Labels"], container["State"]
                # From the listing: whoever inspects one after the other may find the next one removed.
                exited = EXITED.match(container["Status"])
                code = int(exited[1]) if exited else None
                jid, generation = (labels[f"org.chrisproject.pman.{name}"] for name in ("jid", "generation"))
                found.append(Native(jid, generation, "ended" if exited else state, code))
        return found

    def close(self) -> None:
        self._last.close()


class KubernetesWorld(World):
    """The kit's cluster, behind a proxy; a namespace of it. Needs root, to kill its API server."""

    backend = "kubernetes"
    port = 6443
    """Of the API server, as the kit has it."""

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self._last = ExitStack()

    def prepare(self) -> Mapping[str, str]:
        access = kubeconfig()
        if access is None or not kit.owns(access):
            raise RuntimeError(f"only the cluster of the kit is given faults, and this is another one: {access}")
        if lacking := kit.lack():
            raise RuntimeError(lacking)
        self._cluster = self._last.enter_context(cluster())
        self.proxy = RedisProxy(self.port)
        self._last.callback(self.proxy.close)
        self._last.callback(kit.bring_back)  # whatever a fault has left, and before anything else
        by_proxy = self.folder / "kubeconfig"
        by_proxy.touch(0o600)
        by_proxy.write_text(access.read_text().replace(f"127.0.0.1:{self.port}", f"127.0.0.1:{self.proxy.port}"))
        return {
            "KUBECONFIG": str(by_proxy),
            "JOB_NAMESPACE": self._cluster.namespace,
            "KUBE_REQUEST_RATIO": "0.01",
            "LIVE_LOGS_S": "0",
        }

    def make_folders(self, body: Body) -> None:
        super().make_folders(body)
        (self.store_base / body.output_dir).chmod(0o777)

    def natives(self) -> list[Native]:
        items = json.loads(self._cluster.kubectl("get", "jobs,pods", "-o", "json"))["items"]
        codes: dict[str, int] = {}
        for pod in (item for item in items if item["kind"] == "Pod"):
            for container in pod["status"].get("containerStatuses", ()):
                with suppress(KeyError):
                    codes[_generation(pod)] = container["state"]["terminated"]["exitCode"]
        found = {}
        for item in sorted(items, key=lambda item: item["kind"]):  # Jobs first; a pod stands for one that is gone
            conditions = item["status"].get("conditions", ())
            is_ended = any(one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions)
            generation, jid = _generation(item), item["metadata"]["annotations"]["pman.chrisproject.org/jid"]
            native = Native(jid, generation, "ended" if is_ended else item["kind"], codes.get(generation))
            found.setdefault(generation, native)
        return list(found.values())

    def close(self) -> None:
        self._last.close()


WORLDS: Mapping[str, type[World]] = {
    world.backend: world for world in (ProcessWorld, MockWorld, DockerWorld, KubernetesWorld, CromwellWorld)
}


def _generation(item: Mapping[str, Any]) -> str:
    return str(item["metadata"]["labels"]["pman.chrisproject.org/generation"])
