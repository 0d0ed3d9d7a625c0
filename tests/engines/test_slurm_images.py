"""Images of a real registry on a real Slurm: fetched once for all nodes, and again where they must be."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backends._slurm.settings import SlurmSettings
from backends.slurm import SlurmBackend
from pman_core.backend import JobRef, Observed
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, Reason, State
from testbed.system import wait_for
from tests.engines import registry
from tests.engines.jobs import body
from tests.engines.slurm import need_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(180)]


class Site:
    """One store with an image cache of its own on the real cluster."""

    def __init__(self, folder: Path) -> None:
        self.instance = f"t{folder.name[-6:].lower().replace('_', 'x')}"
        self.store = folder / "store"
        self.store.mkdir()
        self.made: list[SlurmBackend] = []

    def backend(self, **common: str) -> SlurmBackend:
        settings = Settings(container_env="slurm", storebase=self.store, pman_instance=self.instance)
        own = SlurmSettings(slurm_poll_s=0.2, **common)  # type: ignore[arg-type]
        self.made.append(SlurmBackend(settings, own))
        self.made[-1].open()
        return self.made[-1]

    def spec(self, image: str, jid: str) -> JobSpec:
        request = JobRequest(**(body(jid, "true") | {"image": image}))
        for name in (request.input_dir, request.output_dir):
            (self.store / name).mkdir(parents=True, exist_ok=True)
        return JobSpec(mint_generation(), self.instance, request)

    def cached(self) -> dict[str, int]:
        """Return the images of the cache, and the number of each one's inode: another one is another fetch."""
        return {path.name: path.stat().st_ino for path in (self.store / ".pman/images").glob("*.sif")}

    def close(self) -> None:
        for backend in self.made:
            for owned in list(backend.owned()):
                backend.remove(owned.observed.jid, owned.observed.generation)
            backend.close()


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    need_slurm(request)
    if lack := registry.lack():
        pytest.skip(lack)
    with TemporaryDirectory(prefix="pman-slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        made = Site(Path(name))
        try:
            yield made
        finally:
            made.close()


def run(backend: SlurmBackend, *specs: JobSpec) -> list[Observed]:
    """Submit all of them and return how they ended."""
    for spec in specs:
        backend.submit(spec)

    def ended() -> list[Observed] | None:
        seen = backend.observe([JobRef(spec.jid, spec.generation) for spec in specs]).values()
        found = [sighting for sighting in seen if isinstance(sighting, Observed) and sighting.state in TERMINAL]
        return found if len(found) == len(specs) else None

    return wait_for("all ends", ended, 90)


def test_jobs_on_all_nodes_fetch_an_image_once(site: Site) -> None:
    backend, image = site.backend(), registry.new_image()
    specs = [site.spec(image, f"job-{number}") for number in range(8)]
    assert {found.state for found in run(backend, *specs)} == {State.SUCCEEDED}
    assert len(site.cached()) == 1
    control = site.store / ".pman" / site.instance / "slurm"
    assert len([spec for spec in specs if (control / spec.generation / "pull").exists()]) == 1, "one node fetched it"
    fetched = site.cached()
    assert run(backend, site.spec(image, "later"))[0].state is State.SUCCEEDED
    assert site.cached() == fetched


def test_with_a_policy_of_always_a_later_job_has_what_the_tag_has_become(site: Site) -> None:
    backend, image = site.backend(image_pull_policy="always"), registry.new_image("old")
    assert run(backend, site.spec(image, "first"))[0].state is State.SUCCEEDED
    fetched = site.cached()
    registry.move(image, "new")
    assert run(backend, site.spec(image, "second"))[0].state is State.SUCCEEDED
    assert site.cached().keys() == fetched.keys()
    assert site.cached() != fetched


def test_what_the_registry_says_is_told(site: Site) -> None:
    (found,) = run(site.backend(), site.spec(f"{registry.OPEN}/pman/test:nothing", "job"))
    assert (found.state, found.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert "manifest unknown" in found.message
    (found,) = run(site.backend(), site.spec(registry.SECRET, "secret"))
    assert (found.state, found.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert site.cached() == {}
