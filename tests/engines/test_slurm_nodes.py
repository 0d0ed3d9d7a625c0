"""What the launcher does on the nodes of a real Slurm: it says when a job begins, and ends what is over by itself."""

import fcntl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

import backends._slurm.submit
from backends._hpc.files import Watch, cache_name, files_of
from backends._hpc.outcome import Verdict
from backends._slurm.settings import SlurmSettings
from backends.slurm import SlurmBackend
from pman_core.backend import JobRef, Observed
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, Reason, State
from testbed.system import wait_for
from tests.engines import registry
from tests.engines.jobs import IMAGE, body
from tests.engines.slurm import IMAGES, Calls, count, native_state, need_slurm

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(120)]

MANY, THREADS = 40, 8


class Site:
    """One store on the real cluster, and a worker whose launchers look twice a second."""

    def __init__(self, folder: Path) -> None:
        self.instance = f"t{folder.name[-6:].lower().replace('_', 'x')}"
        self.store = folder / "store"
        self.store.mkdir()
        self.calls = Calls(folder / "bin")
        self.cache = folder / "cache"
        images = folder / "images"
        images.mkdir()
        (images / f"{IMAGE}.tar").write_bytes((IMAGES / "busybox.tar").read_bytes())
        common = Settings(container_env="slurm", storebase=self.store, pman_instance=self.instance)
        own = SlurmSettings(
            slurm_poll_s=0.2,
            slurm_path=f"{self.calls.folder}:/usr/bin:/bin",
            hpc_images=images,
            hpc_image_cache=self.cache,
        )
        self.backend = SlurmBackend(common, own)
        self.backend.open()

    def submitted(self, jid: str, command: str, **wish: str) -> JobSpec:
        request = JobRequest(**(body(jid, command) | wish))
        for name in (request.input_dir, request.output_dir):
            (self.store / name).mkdir(parents=True, exist_ok=True)
        spec = JobSpec(mint_generation(), self.instance, request)
        self.backend.submit(spec)
        return spec

    def look(self, spec: JobSpec) -> Observed:
        found = self.backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]
        assert isinstance(found, Observed), found
        return found

    def wait_state(self, spec: JobSpec, *states: State) -> Observed:
        found: Observed = wait_for(
            f"{spec.jid} is {states}", lambda: (it := self.look(spec)).state in states and it, 60
        )
        return found

    def native_id(self, spec: JobSpec) -> int:
        return int(self.backend._control.folder(spec.generation).noted()[0].native_id)

    def close(self) -> None:
        for owned in list(self.backend.owned()):
            self.backend.remove(owned.observed.jid, owned.observed.generation)
        self.backend.close()


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    need_slurm(request)
    monkeypatch.setattr(backends._slurm.submit, "files_of", partial(files_of, watch=Watch(heartbeat_s=0.5, grace_s=1)))
    with TemporaryDirectory(prefix="pman-slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        made = Site(Path(name))
        try:
            yield made
        finally:
            made.close()


def test_a_job_whose_image_is_fetched_waits_and_says_so(site: Site) -> None:
    if lack := registry.lack():
        pytest.skip(lack)
    image = registry.new_image()
    site.cache.mkdir()
    with (site.cache / f"{cache_name(image)}.sif.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else fetches it, and it takes him long
        spec = site.submitted("job", "sleep 1", image=image)
        wait_for("Slurm runs it", lambda: native_state(site.native_id(spec)) == "RUNNING", 60)
        wait_for("its image is waited for", lambda: site.look(spec).message.startswith(f"fetching image {image} on n"))
        assert site.look(spec).state is State.PENDING
        assert site.look(spec).native_state == "RUNNING"
    site.wait_state(spec, State.RUNNING)
    assert site.wait_state(spec, *TERMINAL).state is State.SUCCEEDED


def test_what_is_over_is_ended_on_its_node_though_slurm_is_not_told(site: Site) -> None:
    spec = site.submitted("job", "trap '' TERM; sleep 600 & wait; sleep 600")
    site.wait_state(spec, State.RUNNING)
    began = wait_for("its processes", lambda: _sleepers(site))
    site.backend._control.put_verdict(spec.generation, Verdict(State.FAILED, Reason.NODE_FAIL, "its node has failed"))
    wait_for("Slurm has seen it end", lambda: native_state(site.native_id(spec)) == "FAILED", 30)
    assert not [process for process in began if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert site.look(spec).reason is Reason.NODE_FAIL
    assert count(site.calls.since(0))["scancel"] == 0


def test_all_that_slurmctld_knows_has_reached_accounting(site: Site) -> None:
    wait_for("nothing waits for slurmdbd", lambda: site.backend._transport.unaccounted() == 0)


def test_jobs_that_are_ended_at_once_are_few_questions(site: Site) -> None:
    specs = [site.submitted(f"job-{number}", "sleep 600") for number in range(MANY)]
    began_s = time.time()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda spec: site.backend.end(spec.jid, spec.generation), specs))
    asked = count(site.calls.since(began_s))
    assert asked["scancel"] == MANY
    assert asked["squeue"] <= MANY / 2, asked
    for spec in specs:
        assert site.wait_state(spec, *TERMINAL).reason is Reason.CANCELLED


def _sleepers(site: Site) -> list[psutil.Process]:
    """Return what the launchers of the site have started of the jobs themselves."""
    found = []
    for one in psutil.process_iter(["cmdline"]):
        with suppress(psutil.NoSuchProcess):
            if str(site.store) in " ".join(one.info["cmdline"] or ()):
                found += [child for child in one.children(recursive=True) if child.name() in {"sleep", "busybox"}]
    return found
