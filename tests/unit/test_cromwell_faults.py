"""The backend before a Cromwell whose answers are late, lost, cut, or somebody else's: nothing false is concluded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.cromwell import CromwellBackend
from pman_core.backend import Observed
from pman_core.errors import Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.states import TERMINAL, State
from testbed.processes import kill_naming
from testbed.system import wait_for
from tests.fakes.cromwell import FakeCromwell, Refused, fail
from tests.fakes.cromwell.replies import Reply, plain
from tests.unit.cromwell_server import Site

TIMEOUT_S = 0.4
COUNT = ("sh", "-c", 'echo ran >> "$0/runs"; sleep "$1"')
NONSENSE = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'"fail"',
    b'{"results": null, "totalResultsCount": 1}',
    b'{"results": [{"id": "',
    b"<html><body>Sign in</body></html>",
    b"\xff\xfe\x00",
]
REFUSALS = {
    "500": fail("Ask timed out on [Actor[akka://cromwell-system/user/WorkflowStoreActor]]", 500, "error"),
    "502": plain("<html>Bad Gateway</html>", 502),
    "503": plain("The server is currently unavailable (because it is overloaded or down for maintenance).", 503),
    "504": plain("The server was not able to produce a timely response to your request.", 504),
    "401": plain("<html>Authorization Required</html>", 401),
    "302": Refused(Reply("", 302, {"Location": "https://login.example.org/"})),
}


@pytest.fixture
def cromwell(tmp_path: Path) -> Iterator[FakeCromwell]:
    with FakeCromwell(tmp_path / "cromwell") as cromwell:
        yield cromwell
    kill_naming(tmp_path)


@pytest.fixture
def site(tmp_path: Path, cromwell: FakeCromwell) -> Iterator[Site]:
    site = Site(tmp_path, cromwell.url)
    site.backend.open()
    yield site
    site.backend.close()


@contextmanager
def impatient(site: Site) -> Iterator[None]:
    """Let the worker wait for no answer longer than :data:`TIMEOUT_S`."""
    patient = site.backend
    own = patient.own.model_copy(update={"cromwell_timeout_s": TIMEOUT_S})
    site.backend = CromwellBackend(patient.common, own)
    yield
    site.backend.close()
    site.backend = patient


def job(site: Site, seconds: float = 0.0) -> JobSpec:
    return site.spec(*COUNT, "/share/outgoing", str(seconds))


def runs(site: Site, spec: JobSpec) -> int:
    base = site.backend.common.storebase
    assert base is not None
    path = base / spec.request.output_dir / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def ends_once(site: Site, spec: JobSpec) -> None:
    found: Observed = wait_for("it has ended", lambda: (seen := observed(site, spec)).state in TERMINAL and seen)
    assert (found.state, found.exit_code, runs(site, spec)) == (State.SUCCEEDED, 0, 1)


SUBMIT_FAULTS: dict[str, Callable[[FakeCromwell], None]] = {
    "the answer is lost": lambda cromwell: cromwell.faults.lose_answer("POST submit"),
    "the connection breaks": lambda cromwell: cromwell.faults.drop("POST submit", times=1),
    "no answer comes": lambda cromwell: cromwell.faults.hang("POST submit", times=1),
    **{
        name: lambda cromwell, refused=refused: cromwell.faults.refuse("POST submit", refused, times=1)  # type: ignore[misc]
        for name, refused in REFUSALS.items()
    },
}


@pytest.mark.parametrize("name", SUBMIT_FAULTS)
def test_a_submit_that_fails_is_done_again_and_runs_once(site: Site, cromwell: FakeCromwell, name: str) -> None:
    spec = job(site)
    SUBMIT_FAULTS[name](cromwell)
    with impatient(site), pytest.raises((Unavailable, Unparseable)):
        site.backend.submit(spec)
    site.backend.submit(spec)
    ends_once(site, spec)
    assert len(cromwell.workflows) == 1


@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
def test_a_server_that_is_unwell_ends_no_job(site: Site, cromwell: FakeCromwell, refused: Refused) -> None:
    spec = job(site, 600)
    site.backend.submit(spec)
    wait_for("it runs", lambda: runs(site, spec))
    cromwell.faults.refuse("*", refused)
    with pytest.raises((Unavailable, Unparseable)):
        site.look(spec)
    with pytest.raises((Unavailable, Unparseable)):
        site.backend.remove(spec.jid, spec.generation)
    with pytest.raises((Unavailable, Unparseable)):
        list(site.backend.owned())
    assert not site.backend.health().ok
    cromwell.faults.clear()
    assert site.backend.health().ok
    wait_for("it is removed", lambda: site.backend.remove(spec.jid, spec.generation))


def test_nonsense_is_no_answer(site: Site, cromwell: FakeCromwell) -> None:
    spec = site.spec("sh", "-c", 'echo ran >> "$0/runs"; until [ -e "$0/go" ]; do sleep 0.1; done', "/share/outgoing")
    site.backend.submit(spec)
    for nonsense in NONSENSE:
        cromwell.faults.say("*", nonsense)
        for ask in (lambda: site.look(spec), lambda: list(site.backend.owned())):
            with pytest.raises((Unavailable, Unparseable)):
                ask()
        site.backend.health()
        cromwell.faults.clear()
    (site.store / spec.request.output_dir / "go").touch()
    ends_once(site, spec)


def test_a_silent_server_is_not_waited_for(site: Site, cromwell: FakeCromwell) -> None:
    spec = job(site, 600)
    site.backend.submit(spec)
    wait_for("it runs", lambda: runs(site, spec))
    cromwell.faults.hang("*")
    with impatient(site):
        with pytest.raises(Unavailable):
            site.look(spec)
        assert not site.backend.health().ok
        with pytest.raises(Unavailable):
            site.backend.remove(spec.jid, spec.generation)
    cromwell.faults.clear()
    cromwell.faults.release()
    wait_for("it is removed", lambda: site.backend.remove(spec.jid, spec.generation))


def test_what_an_abort_answered_may_be_lost(site: Site, cromwell: FakeCromwell) -> None:
    spec = job(site, 600)
    site.backend.submit(spec)
    wait_for("it runs", lambda: runs(site, spec))
    cromwell.faults.lose_answer("POST abort")
    with pytest.raises(Unavailable):
        site.backend.end(spec.jid, spec.generation)
    site.backend.end(spec.jid, spec.generation)
    wait_for("it is cancelled", lambda: observed(site, spec).state == State.CANCELLED)


def observed(site: Site, spec: JobSpec) -> Observed:
    found = site.look(spec)
    assert isinstance(found, Observed), found
    return found


def test_an_end_is_told_while_metadata_cannot_be_had(site: Site, cromwell: FakeCromwell) -> None:
    spec = job(site)
    cromwell.faults.drop("GET metadata")
    site.backend.submit(spec)
    ends_once(site, spec)
