"""Jobs that Cromwell has given up, or has lost with its database, and that run: their launchers end them on DELETE."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import pytest

import backends._cromwell.submit
from backends._cromwell import looks
from backends._hpc.files import Watch, files_of
from pman_core.backend import Absent, Observed
from pman_core.job import JobSpec
from pman_core.states import State
from testbed.processes import kill_naming, naming
from testbed.system import wait_for
from tests.fakes.cromwell import FAST, LOCAL, FakeCromwell
from tests.unit.cromwell_server import NOT_THERE, SUBMITTED, Scripted, Site, serving

STUBBORN = ("sh", "-c", "trap '' TERM; sleep 600 & exec sleep 600")
BLIND = {
    "check_alive": "exit 1",
    "exit_code_timeout_s": 0.2,
    "run_in_background": False,
    "submit": "setsid bash ${script} </dev/null >/dev/null 2>&1 & echo Submitted batch job $!",
}
"""A batch system that answers no question."""


@pytest.fixture(autouse=True)
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        backends._cromwell.submit, "files_of", partial(files_of, watch=Watch(heartbeat_s=0.1, grace_s=1))
    )
    monkeypatch.setattr(looks, "LAST_WORD_S", 0.0)


@pytest.fixture
def cromwell(tmp_path: Path) -> Iterator[FakeCromwell]:
    with FakeCromwell(tmp_path / "cromwell", LOCAL.but(timing=FAST, **BLIND)) as fake:
        yield fake
    kill_naming(tmp_path)


@pytest.fixture
def site(tmp_path: Path, cromwell: FakeCromwell) -> Site:
    made = Site(tmp_path, cromwell.url)
    made.backend.open()
    return made


def family(site: Site) -> list[psutil.Process]:
    """Return the launchers of the site, and what they have started."""
    found = []
    for one in naming(site.control.base):
        with suppress(psutil.NoSuchProcess):
            found += [one, *one.children(recursive=True)]
    return found


@contextmanager
def asleep(processes: list[psutil.Process]) -> Iterator[None]:
    """Let a job and its launcher do nothing meanwhile, however long that takes."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    yield
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def runs(process: psutil.Process) -> bool:
    """Whether it is more than an entry that waits for its parent, and not the launcher, which is just leaving."""
    try:
        return process.name() == "sleep" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def given_up(site: Site, cromwell: FakeCromwell) -> JobSpec:
    """Return a job that runs, and whose workflow has failed."""
    spec = site.spec(*STUBBORN)
    site.backend.submit(spec)
    wait_for("it runs", lambda: any(map(runs, family(site))))
    wait_for("pman has seen that", lambda: "lost sight" in observed(site, spec).message)
    return spec


def observed(site: Site, spec: JobSpec) -> Observed:
    found = site.look(spec)
    assert isinstance(found, Observed), found
    return found


def test_a_job_that_cromwell_has_given_up_is_removed_when_its_launcher_has_ended_it(
    site: Site, cromwell: FakeCromwell
) -> None:
    spec = given_up(site, cromwell)
    running = family(site)
    with asleep(running):
        assert site.backend.remove(spec.jid, spec.generation) is False
    wait_for("nothing of it is told any more", lambda: site.look(spec) == Absent())
    assert not any(map(runs, running)), "it was gone before"


def test_a_job_that_cromwell_has_given_up_is_ended_and_told_so(site: Site, cromwell: FakeCromwell) -> None:
    spec = given_up(site, cromwell)
    running = family(site)
    with asleep(running):
        site.backend.end(spec.jid, spec.generation)
        assert observed(site, spec).state is State.RUNNING, "it has not ended yet"
    wait_for("it is cancelled", lambda: observed(site, spec).state is State.CANCELLED)
    assert not any(map(runs, running)), "it was gone before"


def test_a_job_that_cromwell_has_lost_is_not_gone_before_its_launcher(tmp_path: Path) -> None:
    with serving(Scripted()) as server:
        server.says("POST", "/v1", SUBMITTED)
        server.says("GET", "/metadata", NOT_THERE)
        site = Site(tmp_path, server.url)
        site.backend.open()
        spec = site.spec()
        site.backend.submit(spec)
        site.claim(spec, datetime.now(UTC))
        site.beat(spec, 1)
        server.shows()  # its database is another one
        site.age(spec, 3600)
        assert site.backend.remove(spec.jid, spec.generation) is False
        site.age(spec, 3600)
        assert observed(site, spec).state is State.RUNNING
        site.beat(spec, 3600)
        assert site.look(spec) == Absent()
