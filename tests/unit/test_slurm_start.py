"""A job that Slurm runs is PENDING until it has begun on its node, and RUNNING from then on; what it costs to know."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends._hpc.job_folder import JobFolder
from backends._slurm.sight import quick_sighting
from backends._slurm.start import Starts
from pman_core.backend import JobRef, Observed, Unknown
from pman_core.job import JobSpec
from pman_core.states import State
from tests.unit.test_slurm_backend import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The generations whose control folders were read."""
    seen: list[str] = []
    names = JobFolder.names

    def spy(folder: JobFolder) -> frozenset[str]:
        seen.append(folder.generation)
        return names(folder)

    monkeypatch.setattr(JobFolder, "names", spy)
    return seen


def told(site: Site, spec: JobSpec) -> tuple[State, str]:
    found = site.look(spec)
    assert isinstance(found, Observed), found
    assert (found.started_at is None) == (found.state is State.PENDING)
    return found.state, found.message


def write(site: Site, spec: JobSpec, name: str) -> None:
    path = site.backend._control.base / spec.generation / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"native_id=1\0host=n1\0at=1\0" if name.endswith("facts") else b"")


def test_a_job_with_a_node_is_pending_until_it_has_begun_there(site: Site) -> None:
    spec = site.submitted(image="fnndsc/pl-mri:1")
    site.slurm.become(1, "RUNNING", nodes="n1")
    assert told(site, spec) == (State.PENDING, "n1 has not begun with it yet")
    write(site, spec, "claim/facts")
    assert told(site, spec) == (State.PENDING, "starting on n1")
    write(site, spec, "fetching")
    assert told(site, spec) == (State.PENDING, "fetching image fnndsc/pl-mri:1 on n1")
    assert [owned.observed.state for owned in site.backend.owned()] == [State.PENDING]
    write(site, spec, "log")
    assert told(site, spec) == (State.RUNNING, "")
    assert [owned.observed.state for owned in site.worker().owned()] == [State.RUNNING]


def test_a_job_whose_image_could_not_be_fetched_has_never_run(site: Site) -> None:
    spec = site.submitted()
    write(site, spec, "claim/facts")
    write(site, spec, "fetching")
    site.slurm.become(1, "COMPLETING")
    assert told(site, spec) == (State.PENDING, "COMPLETING in Slurm")


def test_a_folder_is_read_until_its_job_has_begun_and_never_of_one_that_waits(site: Site, looks: list[str]) -> None:
    waiting, fetching, running = (site.submitted(jid=jid) for jid in ("waiting", "fetching", "running"))
    for job_id in (2, 3):
        site.slurm.become(job_id, "RUNNING")
    site.begin(running)
    refs = [JobRef(spec.jid, spec.generation) for spec in (waiting, fetching, running)]
    for _ in range(3):
        site.backend.observe(refs)
    assert (looks.count(waiting.generation), looks.count(running.generation)) == (0, 1)
    assert looks.count(fetching.generation) == 3
    assert site.slurm.listings == 3


def test_a_job_that_has_begun_never_waits_again(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "RUNNING")
    site.begin(spec)
    assert told(site, spec)[0] is State.RUNNING
    (site.backend._control.base / spec.generation / "log").unlink()
    assert told(site, spec)[0] is State.RUNNING


def test_a_folder_that_cannot_be_read_says_nothing_of_the_other_jobs(site: Site) -> None:
    spec, other = site.submitted(), site.submitted(jid="other")
    for job_id in (1, 2):
        site.slurm.become(job_id, "RUNNING")
    site.begin(other)
    folder = site.backend._control.base / spec.generation
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(folder.name)  # a loop: an error of the store for root, too
    found = site.backend.observe([JobRef(each.jid, each.generation) for each in (spec, other)])
    assert isinstance(found[spec.jid, spec.generation], Unknown)
    assert isinstance(running := found[other.jid, other.generation], Observed)
    assert running.state is State.RUNNING


def test_a_removed_job_that_slurm_has_not_ended_yet_runs(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "RUNNING")
    site.backend.remove(spec.jid, spec.generation)
    assert told(site, spec)[0] is State.RUNNING


def test_a_job_that_is_younger_than_the_listing_is_pending_until_it_has_begun(site: Site) -> None:
    spec = site.submitted(image="fnndsc/pl-mri:1")
    for name in ("claim/facts", "alive", "fetching"):
        write(site, spec, name)
    site.slurm.known.clear()
    assert told(site, spec) == (State.PENDING, "fetching image fnndsc/pl-mri:1 on n1")
    write(site, spec, "log")
    assert told(site, spec) == (State.RUNNING, "")


def test_a_job_that_slurm_has_forgotten_is_pending_until_it_has_begun(site: Site) -> None:
    spec = site.submitted(image="fnndsc/pl-mri:1")
    for name in ("claim/facts", "alive", "fetching"):
        write(site, spec, name)
    site.forget(spec)
    assert told(site, spec) == (State.PENDING, "Slurm does not know it; fetching image fnndsc/pl-mri:1 on n1")


def test_what_one_thread_sees_begin_does_not_disturb_another_that_forgets(site: Site) -> None:
    """The observer and the tasks of a worker share one backend."""
    specs = [site.submitted(jid=f"job-{number}") for number in range(3)]
    jobs = list(site.slurm.known.values())
    starts = Starts()

    def begin(number: int) -> None:
        site.slurm.become(number + 1, "RUNNING")
        site.begin(specs[number])
        seen = quick_sighting([site.slurm.known[number + 1]])
        assert seen is not None
        folder = site.backend._control.folder(specs[number].generation)
        assert starts.seen(seen, folder, jobs[number]) == seen

    class Listed(dict[str, None]):
        """A listing that is looked at while another job begins."""

        def __contains__(self, generation: object) -> bool:
            begin(2)
            return super().__contains__(generation)

        def __iter__(self) -> Iterator[str]:
            begin(2)
            return super().__iter__()

    begin(0)
    begin(1)
    starts.keep(Listed({spec.generation: None for spec in specs}))
