"""The Slurm backend over a transport in memory: what it asks, what it takes for an answer, what it never concludes."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import backends._slurm.submit
from backends._hpc.settings import Runtime
from backends._slurm.identity import comment_of
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import NativeJob, NoAccounting, SbatchOrder
from backends.slurm import SlurmBackend
from pman_core.backend import Absent, JobRef, Observed, Sighting, Unknown
from pman_core.errors import Rejected, Unavailable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import Reason, State
from tests.unit.payloads import request


class Memory:
    """A Slurm that does what it is told and nothing by itself."""

    def __init__(self) -> None:
        self.orders: list[SbatchOrder] = []
        self.known: dict[int, NativeJob] = {}
        self.accounts: dict[int, NativeJob] | None = None
        self.cancelled: list[int] = []
        self.gently: list[bool] = []
        self.asked: list[set[int]] = []
        self.unsent = 0
        self.listings = 0
        self.fails: dict[str, Exception] = {}
        self.loses_answer = False

    def _fail(self, call: str) -> None:
        if call in self.fails:
            raise self.fails[call]

    def open(self) -> None:
        self._fail("open")

    def close(self) -> None:
        """Nothing is open."""

    def submit(self, order: SbatchOrder) -> int:
        self._fail("submit")
        self.orders.append(order)
        job_id = len(self.orders)
        self.known[job_id] = NativeJob(job_id, "PENDING", order.name, order.comment, reason="Priority")
        if self.loses_answer:
            raise Unavailable("sbatch: no answer within 10 s")
        return job_id

    def jobs(self) -> Sequence[NativeJob]:
        self.listings += 1
        self._fail("jobs")
        return list(self.known.values())

    def accounted(self, job_ids: Collection[int], since: datetime) -> Sequence[NativeJob]:
        self.asked.append(set(job_ids))
        self._fail("accounted")
        if self.accounts is None:
            raise NoAccounting
        return [job for job_id, job in self.accounts.items() if job_id in job_ids]

    def unaccounted(self) -> int:
        self._fail("unaccounted")
        return self.unsent

    def cancel(self, job_ids: Collection[int], *, gently: bool = False) -> None:
        self._fail("cancel")
        self.cancelled += sorted(job_ids)
        self.gently.append(gently)

    def ping(self) -> str:
        return "memory"

    def become(self, job_id: int, state: str, **fields: Any) -> None:
        moment = datetime.now(UTC) - timedelta(minutes=1)
        times = {"started_at": moment, "finished_at": None if state == "RUNNING" else moment}
        self.known[job_id] = replace(self.known[job_id], state=state, **(times | fields))


class Site:
    """A store, a Slurm in memory, and any number of workers over both."""

    def __init__(self, folder: Path) -> None:
        self.store = folder
        self.slurm = Memory()
        self.backend = self.worker()
        self.backend.open()

    def worker(self, *, runtime: Runtime = "apptainer", **settings: Any) -> SlurmBackend:
        common = Settings(container_env="slurm", storebase=self.store, pman_instance="pman", **settings)
        with patch("backends.slurm.transport_of", return_value=self.slurm):
            return SlurmBackend(common, SlurmSettings(slurm_poll_s=1e-9, hpc_runtime=runtime))

    def spec(self, **wish: Any) -> JobSpec:
        spec = JobSpec(mint_generation(), "pman", JobRequest(**(request("x") | wish)))
        for name in (spec.request.input_dir, spec.request.output_dir):
            (self.store / name).mkdir(parents=True, exist_ok=True)
        return spec

    def submitted(self, **wish: Any) -> JobSpec:
        spec = self.spec(**wish)
        self.backend.submit(spec)
        return spec

    def look(self, spec: JobSpec) -> Sighting:
        return self.backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]

    def begin(self, spec: JobSpec) -> None:
        """Leave what the launcher leaves when the image is there."""
        (self.backend._control.base / spec.generation / "log").touch()

    def end(self, spec: JobSpec, *facts: str, native_id: str = "1") -> None:
        """Leave what the launcher leaves."""
        folder = self.backend._control.base / spec.generation
        for name, items in {"claim": [f"native_id={native_id}", "host=n1"], "end": list(facts)}.items():
            (folder / name).mkdir()
            (folder / name / "facts").write_bytes(b"".join(f"{item}\0".encode() for item in items))

    def long_ago(self, spec: JobSpec) -> None:
        """Let the job have been handed over an hour ago."""
        for path in (self.backend._control.base / spec.generation / "native").iterdir():
            os.utime(path, (1, 1))

    def forget(self, spec: JobSpec) -> None:
        """Let slurmctld have forgotten the job."""
        self.slurm.known.clear()
        self.long_ago(spec)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(backends._slurm.submit, "PEER_S", 0.05)  # nobody else is at work here
    return Site(tmp_path)


def test_a_job_costs_one_sbatch_and_no_listing(site: Site) -> None:
    spec = site.submitted()
    assert site.backend.submit(spec) == site.worker().submit(spec)
    assert (len(site.slurm.orders), site.slurm.listings) == (1, 0)


def test_an_order_whose_answer_was_lost_is_found_and_not_repeated(site: Site) -> None:
    site.slurm.loses_answer = True
    spec = site.spec()
    with pytest.raises(Unavailable):
        site.backend.submit(spec)
    site.backend.submit(spec)
    assert len(site.slurm.orders) == 1
    assert [noted.native_id for noted in site.backend._control.folder(spec.generation).noted()] == ["1"]


def test_an_order_that_never_came_is_given_again(site: Site) -> None:
    site.slurm.fails["submit"] = Unavailable("slurmctld is away")
    spec = site.spec()
    with pytest.raises(Unavailable):
        site.backend.submit(spec)
    found = site.look(spec)
    assert isinstance(found, Observed)
    assert found.state is State.QUEUED
    del site.slurm.fails["submit"]
    site.backend.submit(spec)
    assert len(site.slurm.orders) == 1


def test_while_slurm_cannot_be_listed_an_order_of_doubt_is_not_given_again(site: Site) -> None:
    site.slurm.loses_answer = True
    spec = site.spec()
    with pytest.raises(Unavailable):
        site.backend.submit(spec)
    site.slurm.fails["jobs"] = Unavailable("slurmctld is away")
    with pytest.raises(Unavailable):
        site.backend.submit(spec)
    assert len(site.slurm.orders) == 1


def test_what_slurm_refuses_leaves_nothing(site: Site) -> None:
    site.slurm.fails["submit"] = Rejected("Slurm: Invalid partition name specified")
    spec = site.spec()
    with pytest.raises(Rejected, match="Invalid partition name"):
        site.backend.submit(spec)
    assert site.look(spec) == Absent()
    assert list(site.backend.owned()) == []


def test_a_question_that_failed_is_no_answer(site: Site) -> None:
    spec = site.submitted()
    site.slurm.fails["jobs"] = Unavailable("Socket timed out on send/recv operation")
    for call in (lambda: site.look(spec), lambda: list(site.backend.owned())):
        with pytest.raises(Unavailable):
            call()


def test_however_many_jobs_there_are_one_poll_is_one_listing(site: Site) -> None:
    specs = [site.submitted(jid=f"job-{number}") for number in range(20)]
    found = site.backend.observe([JobRef(spec.jid, spec.generation) for spec in specs])
    assert all(isinstance(sighting, Observed) for sighting in found.values())
    assert (site.slurm.listings, site.slurm.asked) == (1, [])


def test_all_who_are_forgotten_are_one_question_of_accounting(site: Site) -> None:
    specs = [site.submitted(jid=f"job-{number}") for number in range(20)]
    site.slurm.accounts = {}
    for job_id in list(site.slurm.known):
        site.slurm.become(job_id, "COMPLETED", exit_status=0)
    site.slurm.accounts = dict(site.slurm.known)
    for spec in specs:
        site.forget(spec)
    found = site.backend.observe([JobRef(spec.jid, spec.generation) for spec in specs])
    assert {sighting.state for sighting in found.values() if isinstance(sighting, Observed)} == {State.SUCCEEDED}
    assert len(found) == 20
    assert site.slurm.asked == [set(range(1, 21))]


def test_accounting_that_is_away_loses_nobody(site: Site) -> None:
    spec = site.submitted()
    site.forget(spec)
    site.slurm.fails["accounted"] = Unavailable("slurmdbd is away")
    assert isinstance(site.look(spec), Unknown)
    (owned,) = site.backend.owned()
    assert owned.observed.state is State.PENDING
    assert owned.spec == spec


@pytest.mark.parametrize("state", ["", "PENDING", "RUNNING"])
def test_accounting_that_has_not_heard_all_loses_nobody(site: Site, state: str) -> None:
    """slurmdbd was away; slurmctld has forgotten the job, and has not delivered the news of its end yet."""
    spec = site.submitted()
    site.slurm.accounts = {1: replace(site.slurm.known[1], state=state)} if state else {}
    site.forget(spec)
    site.slurm.unsent = 7
    assert isinstance(unknown := site.look(spec), Unknown)
    assert "7 messages wait" in unknown.why
    site.slurm.fails["unaccounted"] = Unavailable("slurmctld is away")
    assert isinstance(site.look(spec), Unknown)
    site.slurm.fails.clear()
    site.slurm.unsent = 0
    assert site.look(spec) == Absent()
    site.slurm.accounts = {1: NativeJob(1, "TIMEOUT", spec.native_name)}
    assert isinstance(ended := site.look(spec), Observed)
    assert ended.reason is Reason.TIME_LIMIT


def test_why_a_forgotten_job_was_killed_is_told_when_accounting_can_be_asked(site: Site) -> None:
    """pman was away for longer than slurmctld remembers a job that it had killed at its time limit."""
    spec = site.submitted()
    site.end(spec, "cause=exited", "exit_code=143", "native_id=1", "finished_at=100")
    site.forget(spec)
    site.slurm.fails["accounted"] = Unavailable("slurmdbd is away")
    assert isinstance(site.look(spec), Unknown)
    site.slurm.fails.clear()
    site.slurm.accounts, site.slurm.unsent = {}, 7
    assert isinstance(site.look(spec), Unknown)
    site.slurm.accounts = {1: NativeJob(1, "TIMEOUT", spec.native_name)}
    assert isinstance(told := site.look(spec), Observed)
    assert (told.reason, told.exit_code) == (Reason.TIME_LIMIT, 143)


def test_what_accounting_knows_is_told_whatever_sdiag_says_of_the_others(site: Site) -> None:
    ended, lost = site.submitted(jid="ended"), site.submitted(jid="lost")
    site.slurm.accounts = {1: NativeJob(1, "TIMEOUT", ended.native_name)}
    site.slurm.fails["unaccounted"] = Unavailable("sdiag: Access/permission denied")
    for spec in (ended, lost):
        site.forget(spec)
    found = site.backend.observe([JobRef(spec.jid, spec.generation) for spec in (ended, lost)])
    assert isinstance(told := found["ended", ended.generation], Observed)
    assert told.reason is Reason.TIME_LIMIT
    assert isinstance(unknown := found["lost", lost.generation], Unknown)
    assert "permission denied" in unknown.why


def test_an_end_that_accounting_hears_of_between_two_questions_is_not_missed(site: Site) -> None:
    spec = site.submitted()
    site.slurm.accounts = {1: NativeJob(1, "RUNNING", spec.native_name)}
    site.forget(spec)

    def delivered() -> int:
        assert site.slurm.accounts is not None
        site.slurm.accounts[1] = NativeJob(1, "TIMEOUT", spec.native_name)
        return 0

    with patch.object(site.slurm, "unaccounted", delivered):
        site.backend.end(spec.jid, spec.generation)
    assert isinstance(told := site.look(spec), Observed)
    assert told.reason is Reason.TIME_LIMIT


def test_a_job_that_slurm_does_not_know_and_whose_launcher_is_there_is_not_lost(site: Site) -> None:
    spec = site.submitted()
    site.end(spec, native_id="1")
    site.forget(spec)
    folder = site.backend._control.base / spec.generation
    (folder / "end/facts").unlink()
    site.begin(spec)
    assert site.look(spec) == Absent()
    (folder / "alive").touch()
    assert isinstance(found := site.look(spec), Observed)
    assert (found.state, found.message) == (State.RUNNING, "Slurm does not know it; its launcher is there, on n1")
    os.utime(folder / "alive", (1, 1))
    assert site.look(spec) == Absent()


def test_without_accounting_the_launchers_word_counts(site: Site) -> None:
    spec, other = site.submitted(), site.submitted(jid="other")
    site.end(spec, "cause=exited", "exit_code=3", "native_id=1", "finished_at=100")
    for each in (spec, other):
        site.forget(each)
    found = site.look(spec)
    assert isinstance(found, Observed)
    assert (found.state, found.exit_code) == (State.FAILED, 3)
    assert site.look(other) == Absent()


def test_accounts_of_another_job_of_that_number_do_not_count(site: Site) -> None:
    spec = site.submitted()
    site.slurm.accounts = {1: NativeJob(1, "COMPLETED", "hello", exit_status=0)}
    site.forget(spec)
    assert site.look(spec) == Absent()


def test_an_end_that_was_told_is_told_for_ever(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "OUT_OF_MEMORY", signal=125)
    first = site.look(spec)
    assert isinstance(first, Observed)
    assert first.reason is Reason.OOM_KILLED
    site.forget(spec)
    site.end(spec, "cause=exited", "exit_code=0", "native_id=1")
    assert site.look(spec) == first
    assert [item.observed for item in site.worker().owned()] == [first]
    assert site.slurm.asked == []


def test_an_end_that_cannot_be_written_down_is_told_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Unavailable("No space left on device")

    monkeypatch.setattr(site.backend._control, "put_verdict", full)
    ending, other = site.submitted(), site.submitted(jid="other")
    site.slurm.become(1, "COMPLETED", exit_status=0)
    keys = [JobRef(spec.jid, spec.generation) for spec in (ending, other)]
    states = [found.state for found in site.backend.observe(keys).values() if isinstance(found, Observed)]
    assert sorted(states) == [State.PENDING, State.SUCCEEDED]


def test_a_job_that_is_being_ended_is_not_over_before_slurm_says_so(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "RUNNING")
    site.begin(spec)
    site.backend.end(spec.jid, spec.generation)
    assert site.slurm.cancelled == [1]
    running = site.look(spec)
    assert isinstance(running, Observed)
    assert running.state is State.RUNNING
    site.slurm.become(1, "COMPLETING")
    assert isinstance(running := site.look(spec), Observed)
    assert running.state is State.RUNNING
    site.slurm.become(1, "CANCELLED", signal=9)
    ended = site.look(spec)
    assert isinstance(ended, Observed)
    assert (ended.state, ended.message) == (State.CANCELLED, "ended on request")


def test_a_removed_job_is_not_absent_before_slurm_says_so(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "RUNNING")
    assert site.backend.remove(spec.jid, spec.generation) is False
    assert isinstance(site.look(spec), Observed)
    site.slurm.become(1, "CANCELLED")
    assert site.look(spec) == Absent()
    with pytest.raises(Rejected, match="removed"):
        site.backend.submit(spec)


def test_a_job_that_has_ended_is_removed_without_a_call(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "COMPLETED", exit_status=0)
    site.look(spec)
    listings = site.slurm.listings
    assert site.backend.remove(spec.jid, spec.generation) is True
    assert (site.slurm.listings, site.slurm.cancelled) == (listings, [])
    assert site.look(spec) == Absent()


def test_a_removal_that_slurm_did_not_hear_is_tried_again(site: Site) -> None:
    spec = site.submitted()
    site.slurm.fails["cancel"] = Unavailable("slurmctld is away")
    with pytest.raises(Unavailable):
        site.backend.remove(spec.jid, spec.generation)
    del site.slurm.fails["cancel"]
    site.backend.remove(spec.jid, spec.generation)
    assert site.slurm.cancelled == [1]


def test_every_order_of_a_generation_is_cancelled(site: Site) -> None:
    spec = site.submitted()
    site.slurm.known[9] = replace(site.slurm.known[1], job_id=9)
    site.backend.remove(spec.jid, spec.generation)
    assert site.slurm.cancelled == [1, 9]


def test_a_job_whose_spec_is_damaged_can_be_removed(site: Site) -> None:
    spec = site.submitted()
    (site.backend._control.base / spec.generation / "spec.json").write_text("{")
    (owned,) = site.backend.owned()
    assert owned.spec is None
    site.backend.remove(spec.jid, spec.generation)
    assert site.slurm.cancelled == [1]
    assert list(site.backend.owned()) == []


def test_another_user_than_pmans_is_refused(site: Site) -> None:
    ours = f"{os.geteuid()}:{os.getegid()}"
    site.worker(container_user=ours).submit(site.spec())
    with pytest.raises(Rejected, match="CONTAINER_USER"):
        site.worker(container_user="12345:23456").submit(site.spec(jid="other"))
    assert len(site.slurm.orders) == 1


def test_bare_commands_are_run_only_by_permission(site: Site) -> None:
    with pytest.raises(Rejected, match="HPC_ANY_IMAGE=yes"):
        site.worker(runtime="none").submit(site.spec())
    assert site.slurm.orders == []


@pytest.mark.parametrize(("runtime", "gently"), [("apptainer", False), ("singularity", False), ("podman", True)])
def test_only_podman_is_given_time_to_end_its_container(site: Site, runtime: Runtime, gently: bool) -> None:
    """It is no child of the job, so a SIGKILL to all of the job's processes would leave it running."""
    spec = site.submitted()
    site.worker(runtime=runtime).remove(spec.jid, spec.generation)
    assert (site.slurm.cancelled, site.slurm.gently) == ([1], [gently])


def test_a_store_that_is_not_mounted_says_nothing_of_anybody(site: Site) -> None:
    spec = site.submitted()
    (site.store / ".pman").rename(site.store / "elsewhere")
    for call in (
        lambda: site.look(spec),
        lambda: list(site.backend.owned()),
        lambda: site.backend.remove(spec.jid, spec.generation),
        lambda: site.backend.submit(spec),
    ):
        with pytest.raises(Unavailable):
            call()
    assert not site.backend.health().ok


def test_who_lost_its_comment_is_found_by_its_name(site: Site) -> None:
    spec = site.submitted()
    assert site.slurm.known[1].comment == comment_of(spec)
    site.slurm.known[1] = replace(site.slurm.known[1], comment="set by the site")
    found = site.look(spec)
    assert isinstance(found, Observed)
    assert (found.state, found.digest) == (State.PENDING, spec.request.digest)


def test_a_number_that_slurm_has_given_anew_is_not_cancelled_with_the_old_job(site: Site) -> None:
    """After a loss of slurmctld's state its numbers begin anew."""
    old = site.submitted()
    site.forget(old)
    site.slurm.orders.clear()
    young = site.submitted(jid="young")
    site.slurm.become(1, "RUNNING")
    site.begin(young)
    site.backend.end(old.jid, old.generation)
    site.backend.remove(old.jid, old.generation)
    assert site.slurm.cancelled == []
    assert isinstance(running := site.look(young), Observed)
    assert running.state is State.RUNNING


def test_a_number_that_slurm_has_forgotten_is_not_cancelled(site: Site) -> None:
    """A younger job, that is in no listing yet, or of another instance, may have it by now."""
    spec = site.submitted()
    site.forget(spec)
    site.backend.remove(spec.jid, spec.generation)
    assert site.slurm.cancelled == []


def test_a_job_that_nobody_has_noted_is_cancelled_by_its_claim(site: Site) -> None:
    spec = site.spec()
    site.slurm.loses_answer = True
    with pytest.raises(Unavailable):
        site.backend.submit(spec)
    site.end(spec, native_id="1")
    claim = site.backend._control.base / spec.generation / "claim/facts"
    claim.write_bytes(f"native_id=1\0host=n1\0at={int(datetime.now(UTC).timestamp())}\0".encode())
    site.slurm.known.clear()  # the listing is older than the job
    assert isinstance(found := site.look(spec), Observed)
    assert (found.state, found.message) == (State.PENDING, "starting on n1")
    site.begin(spec)
    assert isinstance(found := site.look(spec), Observed)
    assert found.state is State.RUNNING
    site.backend.remove(spec.jid, spec.generation)
    assert site.slurm.cancelled == [1]


def test_a_job_that_accounting_never_saw_end_does_not_run_for_ever(site: Site) -> None:
    """A runaway job: slurmctld has lost its state, and accounting waits for the end for ever."""
    ended, lost = site.submitted(), site.submitted(jid="lost")
    site.slurm.become(1, "RUNNING")
    site.slurm.become(2, "RUNNING")
    site.slurm.accounts = dict(site.slurm.known)
    site.end(ended, "cause=exited", "exit_code=3", "native_id=1", "finished_at=100")
    for spec in (ended, lost):
        site.forget(spec)
    assert isinstance(found := site.look(ended), Observed)
    assert (found.state, found.exit_code) == (State.FAILED, 3)
    assert site.look(lost) == Absent()


@pytest.mark.parametrize("state", ["PENDING", "REQUEUE_HOLD"])
def test_a_requeued_run_that_still_waits_is_removed_with_its_job(site: Site, state: str) -> None:
    spec = site.submitted()
    site.end(spec, "cause=exited", "exit_code=143", "native_id=1")
    site.slurm.become(1, state, restarts=1)
    assert isinstance(found := site.look(spec), Observed)
    assert found.reason is Reason.REQUEUED
    assert site.backend.remove(spec.jid, spec.generation) is False
    assert site.slurm.cancelled == [1]


def test_a_second_order_that_still_waits_is_removed_with_its_job(site: Site) -> None:
    spec = site.submitted()
    site.slurm.known[9] = replace(site.slurm.known[1], job_id=9)
    site.backend._control.note(spec.generation, "9")
    site.end(spec, "cause=exited", "exit_code=0", "native_id=1")
    site.slurm.become(1, "COMPLETED", exit_status=0)
    assert isinstance(found := site.look(spec), Observed)
    assert found.state is State.SUCCEEDED
    assert site.backend.remove(spec.jid, spec.generation) is False
    assert site.slurm.cancelled == [1, 9]
    assert isinstance(site.look(spec), Observed), "Slurm has not ended it yet"
    site.slurm.become(9, "CANCELLED")
    assert site.look(spec) == Absent()


def test_a_job_that_has_ended_is_removed_while_slurm_is_away(site: Site) -> None:
    spec = site.submitted()
    site.slurm.become(1, "COMPLETED", exit_status=0)
    site.look(spec)
    site.slurm.fails["jobs"] = Unavailable("slurmctld is away")
    with pytest.raises(Unavailable):
        site.look(spec)
    assert site.backend.remove(spec.jid, spec.generation) is True


def test_what_is_not_known_to_have_ended_is_not_told_as_ended_on_request(site: Site) -> None:
    spec = site.submitted()
    site.forget(spec)
    site.slurm.fails["accounted"] = Unavailable("slurmdbd is away")
    with pytest.raises(Unavailable, match="slurmdbd is away"):
        site.backend.end(spec.jid, spec.generation)
    del site.slurm.fails["accounted"]
    site.slurm.accounts = {1: NativeJob(1, "COMPLETED", spec.native_name, exit_status=0)}
    assert isinstance(found := site.look(spec), Observed)
    assert found.state is State.SUCCEEDED


def test_a_job_whose_verdict_is_damaged_is_cancelled_all_the_same(site: Site) -> None:
    spec = site.submitted()
    verdict = site.backend._control.base / spec.generation / "verdict"
    verdict.mkdir()
    (verdict / "facts").write_text("{")
    with pytest.raises(Unavailable):
        site.backend.end(spec.jid, spec.generation)
    assert site.slurm.cancelled == [1]


def test_a_late_refusal_does_not_take_the_folder_from_a_job_that_runs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = site.spec()

    def refused(_: SbatchOrder) -> int:
        site.worker().submit(spec)  # another one was at work while this one slept
        raise Rejected("Slurm: Invalid partition name specified")

    sleeper = site.worker()
    monkeypatch.setattr(sleeper, "_transport", _Refusing(refused))
    handle = sleeper.submit(spec)
    assert handle == site.backend.submit(spec)
    assert isinstance(site.look(spec), Observed)
    assert len(site.slurm.orders) == 1


def test_a_comment_with_another_name_than_a_generation_is_a_strangers(site: Site) -> None:
    site.slurm.known[5] = NativeJob(5, "RUNNING", "mine", "pman/1 pman ../../x digest jid")
    assert list(site.backend.owned()) == []


class _Refusing(Memory):
    def __init__(self, refused: Callable[[SbatchOrder], int]) -> None:
        super().__init__()
        self.submit = refused  # type: ignore[method-assign]
