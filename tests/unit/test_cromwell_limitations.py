"""What the Cromwell backend of pman 6 could not do, and this one can: logs, env, delete, a user, the exit code.

https://github.com/FNNDSC/pman/blob/v6.3.1/pman/cromwellmgr.py
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pman_core.backend import Absent, Backend, JobRef, Observed
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, Reason, State
from testbed.processes import naming
from testbed.system import wait_for
from tests.fakes.cromwell import FakeCromwell
from tests.unit.cromwell_server import Site


@pytest.fixture
def cromwell(tmp_path: Path) -> Iterator[FakeCromwell]:
    with FakeCromwell(tmp_path / "cromwell") as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, cromwell: FakeCromwell) -> Site:
    site = Site(tmp_path, cromwell.url)
    site.backend.open()
    return site


def ended(site: Site, spec: JobSpec) -> Observed:
    def look() -> Observed | None:
        found = site.look(spec)
        return found if isinstance(found, Observed) and found.state in TERMINAL else None

    return wait_for(f"the end of {spec.jid}", look)


def logs(site: Site, spec: JobSpec) -> str:
    return site.backend.logs(JobRef(spec.jid, spec.generation), 100, 10_000)


def test_logs_are_read_while_the_job_runs_and_afterwards(site: Site) -> None:
    spec = site.spec("sh", "-c", 'echo out; echo err >&2; until [ -e "$0/go" ]; do sleep 0.05; done; echo end')
    site.backend.submit(spec)
    wait_for("a live log", lambda: logs(site, spec) == "out\nerr\n")
    (site.store / "job" / "out" / "go").touch()
    ended(site, spec)
    assert logs(site, spec) == "out\nerr\nend\n"


def test_the_environment_arrives(site: Site) -> None:
    spec = site.spec("sh", "-c", 'printf %s "$GREETING"', env=['GREETING=it\'s "so" ~{x} $HOME\n$(id)'])
    site.backend.submit(spec)
    ended(site, spec)
    assert logs(site, spec) == 'it\'s "so" ~{x} $HOME\n$(id)'


def test_a_running_job_is_deleted_with_all_that_cromwell_had_of_it(site: Site, cromwell: FakeCromwell) -> None:
    spec = site.spec("sh", "-c", "sleep 60; exit 0")
    site.backend.submit(spec)
    wait_for("a running job", lambda: isinstance(found := site.look(spec), Observed) and found.state is State.RUNNING)
    executions = cromwell.site.root / "pman"
    assert list(executions.iterdir())
    site.backend.remove(spec.jid, spec.generation)
    wait_for("its absence", lambda: site.look(spec) == Absent())
    assert list(executions.iterdir()) == []
    assert not naming(spec.generation)


def test_an_execution_folder_that_is_not_the_workflows_is_left_alone(site: Site, cromwell: FakeCromwell) -> None:
    spec = site.spec()
    site.backend.submit(spec)
    ended(site, spec)
    execution = next((cromwell.site.root / "pman").iterdir())
    client = site.backend._client
    wait_for("the end of the workflow", lambda: [one for one in client.with_ids([execution.name]) if one.has_ended])
    precious = site.store / "precious"
    precious.mkdir()
    execution.rename(site.store / "elsewhere")
    execution.symlink_to(precious)
    assert site.backend.remove(spec.jid, spec.generation)
    assert precious.is_dir()


def test_jobs_run_as_the_service_account_and_another_user_is_refused(site: Site, cromwell: FakeCromwell) -> None:
    ours = f"{os.geteuid()}:{os.getegid()}"
    allowed = Site(site.store.parent, cromwell.url, container_user=ours)
    spec = allowed.spec("sh", "-c", "printf %s:%s $(id -u) $(id -g)")
    allowed.backend.submit(spec)
    ended(allowed, spec)
    assert logs(allowed, spec) == ours
    other = Site(site.store.parent, cromwell.url, container_user="12345:23456")
    with pytest.raises(Rejected, match=f"CONTAINER_USER: .*{ours}"):
        other.backend.submit(other.spec(jid="other"))


@pytest.mark.parametrize(("code", "state"), [(0, State.SUCCEEDED), (1, State.FAILED), (79, State.FAILED)])
def test_the_exit_code_is_the_jobs_own(site: Site, code: int, state: State) -> None:
    """79 among them: Cromwell invents it, and a job may exit with it."""
    spec = site.spec("sh", "-c", f"exit {code}")
    site.backend.submit(spec)
    found = ended(site, spec)
    assert (found.state, found.exit_code) == (state, code)


def test_a_death_by_signal_is_told(site: Site) -> None:
    spec = site.spec(sys.executable, "-c", "import os; os.kill(os.getpid(), 11)")
    site.backend.submit(spec)
    found = ended(site, spec)
    assert (found.exit_code, found.reason) == (128 + 11, Reason.SIGNALLED)
    assert logs(site, spec) == "", "what bash says of it is not the job's"


def test_two_workers_see_the_same(site: Site, cromwell: FakeCromwell) -> None:
    spec = site.spec("sh", "-c", "exit 3")
    site.backend.submit(spec)
    first = ended(site, spec)
    other: Backend = Site(site.store.parent, cromwell.url).backend
    assert other.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation] == first
    assert other.submit(spec) == first.handle
