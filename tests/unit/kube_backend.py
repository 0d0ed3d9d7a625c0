"""The backend ``kubernetes`` over the fake cluster, and jobs for it: what the tests of its faults share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes import patience
from backends.kubernetes import KubernetesBackend, KubernetesSettings
from pman_core.backend import Absent, JobRef, Observed, Sighting, Unknown
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL
from testbed.system import wait_for
from tests.fakes.kube_api import ADMIN, FakeCluster
from tests.recorded.kube_jobs import sh

INSTANCE = "faults"
STUBBORN = sh("trap '' TERM; echo begun; sleep 1000 & wait")
COUNT = sh('echo ran >> "$FAKE_MOUNT__share_outgoing/runs"; echo said')


@cache
def _common() -> Settings:
    """Return settings for all tests; to read them takes longer than a job."""
    return Settings(container_env="kubernetes", storebase=Path("/"), pman_instance=INSTANCE)


@cache
def _own(**own: Any) -> KubernetesSettings:
    return KubernetesSettings(**({"kube_timeout_s": 5, "gpus": "no"} | own))


class World:
    """One fake cluster, one store, any number of workers."""

    def __init__(self, cluster: FakeCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self._made: list[KubernetesBackend] = []

    def worker(self, token: str = ADMIN, *, namespace: str = "default", **own: Any) -> KubernetesBackend:
        """Return one more open backend."""
        access = self.cluster.kubeconfig(self.folder / f"access-{token}", token)
        common = _common().model_copy(update={"storebase": self.folder, "job_namespace": namespace})
        backend = KubernetesBackend(common, _own(**own).model_copy(update={"kubeconfig": str(access)}))
        backend.open()
        self._made.append(backend)
        return backend

    def close(self) -> None:
        for backend in self._made:
            backend.close()

    def spec(self, command: list[str], **fields: Any) -> JobSpec:
        """Return a new job, with its folders."""
        generation = mint_generation()
        values: dict[str, Any] = {"jid": "job", "auid": "a", "number_of_workers": 1, "cpu_limit": 100}
        values |= {
            "memory_limit": 64,
            "gpu_limit": 0,
            "image": "case/image:1",
            "type": "fs",
            "env": ["SECRET=hunter22"],
        }
        values |= {"input_dir": f"{generation}/in", "output_dir": f"{generation}/out"}
        for name in ("in", "out"):
            (self.folder / generation / name).mkdir(parents=True)
        return JobSpec(generation, INSTANCE, JobRequest(entrypoint=command, **(values | fields)))

    def runs(self, spec: JobSpec) -> int:
        """Return how often :data:`COUNT` ran."""
        counted = self.folder / spec.request.output_dir / "runs"
        return len(counted.read_text().splitlines()) if counted.exists() else 0


@contextmanager
def impatient_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Open a world in which trouble is asked about at once and again at once, and seconds are short."""
    monkeypatch.setattr(patience, "SILENT_S", 0.0)
    monkeypatch.setattr(patience, "AGAIN_S", 0.05)
    with FakeCluster() as cluster:
        cluster.node.second_s = cluster.controller.second_s = 0.02
        made = World(cluster, folder)
        yield made
        cluster.faults.release()
        made.close()


def look(backend: KubernetesBackend, spec: JobSpec) -> Sighting:
    return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]


def seen(
    backend: KubernetesBackend, spec: JobSpec, is_it: Callable[[Observed], bool] = lambda found: found.state in TERMINAL
) -> Observed:
    """Wait until the job is so, by default until it has ended."""

    def found() -> Observed | None:
        sighting = look(backend, spec)
        assert not isinstance(sighting, Absent), "it is gone"
        return sighting if not isinstance(sighting, Unknown) and is_it(sighting) else None

    return wait_for("the job is as it should be", found)
