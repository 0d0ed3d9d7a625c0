"""Images of a real registry on a real Slurm: fetched once for all nodes, and again where they must be."""

from collections.abc import Iterator

import pytest

from pman_core.states import Reason, State
from tests.engines import registry
from tests.engines.slurm import IMAGES, need_slurm, shared_folder
from tests.engines.slurm_site import Site, open_site, run

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    need_slurm(request)
    if lack := registry.lack():
        pytest.skip(lack)
    with open_site() as site:
        yield site


def cached(site: Site) -> dict[str, int]:
    """Return the images of the site's cache, and the number of each one's inode: another one is another fetch."""
    return {path.name: path.stat().st_ino for path in (site.store / ".pman/images").glob("*.sif")}


def test_jobs_on_all_nodes_fetch_an_image_once(site: Site) -> None:
    backend, image = site.backend(), registry.new_image()
    specs = [site.spec("true", f"job-{number}", image=image) for number in range(8)]
    assert {found.state for found in run(backend, *specs)} == {State.SUCCEEDED}
    assert len(cached(site)) == 1
    control = site.store / ".pman" / site.instance / "slurm"
    assert len([spec for spec in specs if (control / spec.generation / "pull").exists()]) == 1, "one node fetched it"
    fetched = cached(site)
    assert run(backend, site.spec("true", "later", image=image))[0].state is State.SUCCEEDED
    assert cached(site) == fetched


def test_with_a_policy_of_always_a_later_job_has_what_the_tag_has_become(site: Site) -> None:
    backend, image = site.backend(image_pull_policy="always"), registry.new_image("old")
    assert run(backend, site.spec("true", "first", image=image))[0].state is State.SUCCEEDED
    fetched = cached(site)
    registry.move(image, "new")
    assert run(backend, site.spec("true", "second", image=image))[0].state is State.SUCCEEDED
    assert cached(site).keys() == fetched.keys()
    assert cached(site) != fetched


def test_what_the_registry_says_is_told(site: Site) -> None:
    (found,) = run(site.backend(), site.spec("true", "job", image=f"{registry.OPEN}/pman/test:nothing"))
    assert (found.state, found.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert "manifest unknown" in found.message
    (found,) = run(site.backend(), site.spec("true", "secret", image=registry.SECRET))
    assert (found.state, found.reason) == (State.FAILED, Reason.IMAGE_PULL)
    assert cached(site) == {}


def test_images_that_are_fetched_at_once_do_not_spoil_one_another(request: pytest.FixtureRequest) -> None:
    need_slurm(request)
    images = [f"pman-image-{number}" for number in range(12)]
    with shared_folder() as folder, open_site(hpc_images=folder) as site:
        for image in images:
            (folder / f"{image}.tar").write_bytes((IMAGES / "busybox.tar").read_bytes())
        found = run(site.backend(), *(site.spec("true", f"of-{image}", image=image) for image in images))
    assert [(one.state, one.message) for one in found] == [(State.SUCCEEDED, "")] * len(images)
