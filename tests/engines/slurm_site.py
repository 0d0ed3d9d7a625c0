"""Workers' backends without the rest of pman, over one store on a real Slurm."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import backends._slurm.submit
from backends._hpc.files import Watch, files_of
from backends._slurm.settings import SlurmSettings
from backends.slurm import SlurmBackend
from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import Unavailable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S, body
from tests.engines.slurm import instance_of, need_slurm, put_archive, shared_folder


class Site:
    """One store, and any number of workers over it; ``settings`` are those of all of them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.store = folder / "store"
        self.store.mkdir()
        self.instance = instance_of(folder)
        self._settings = settings
        self._made: list[SlurmBackend] = []

    def backend(self, **own: Any) -> SlurmBackend:
        common = Settings(container_env="slurm", storebase=self.store, pman_instance=self.instance)
        backend = SlurmBackend(common, SlurmSettings(**({"slurm_poll_s": 0.2} | self._settings | own)))
        backend.open()
        self._made.append(backend)
        return backend

    def spec(self, script: str, jid: str, **fields: Any) -> JobSpec:
        request = JobRequest(**(body(jid, script) | fields))
        for name in (request.input_dir, request.output_dir):
            (self.store / name).mkdir(parents=True, exist_ok=True)
        return JobSpec(mint_generation(), self.instance, request)

    def close(self) -> None:
        for backend in self._made:
            for owned in list(backend.owned()):
                backend.remove(owned.observed.jid, owned.observed.generation)
            backend.close()


@contextmanager
def lively_site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Open a site whose launchers look twice a second."""
    need_slurm(request)
    monkeypatch.setattr(backends._slurm.submit, "files_of", partial(files_of, watch=Watch(heartbeat_s=0.5, grace_s=1)))
    with shared_folder() as images, open_site(hpc_images=put_archive(images)) as made:
        yield made


@contextmanager
def open_site(**settings: Any) -> Iterator[Site]:
    with shared_folder() as folder:
        site = Site(folder, **settings)
        try:
            yield site
        finally:
            site.close()


def native_id(backend: SlurmBackend, spec: JobSpec) -> int:
    """Return the number that Slurm has given to a job when it was submitted."""
    return int(backend._control.folder(spec.generation).noted()[0].native_id)


def look(backend: SlurmBackend, spec: JobSpec) -> Observed:
    """Return how a job is, as soon as that can be told: a Slurm that is busy may not answer in time."""

    def sight() -> Observed | None:
        with suppress(Unavailable):
            sighting = backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]
            assert not isinstance(sighting, Absent)
            return sighting if isinstance(sighting, Observed) else None
        return None

    return wait_for(f"what is true of {spec.jid}", sight, PATIENCE_S)


def ended(backend: SlurmBackend, spec: JobSpec) -> Observed:
    def end() -> Observed | None:
        found = look(backend, spec)
        return found if found.state in TERMINAL else None

    return wait_for(f"the end of {spec.jid}", end, PATIENCE_S)


def run(backend: SlurmBackend, *specs: JobSpec) -> list[Observed]:
    """Submit all of them and return how they ended."""
    for spec in specs:
        backend.submit(spec)
    return [ended(backend, spec) for spec in specs]
