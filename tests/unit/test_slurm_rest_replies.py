"""What slurmrestd tells of jobs, in every version: on replies of a real one, and on the newer shapes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends._slurm.rest_replies import accounted_from, job_from, unaccounted_from
from backends._slurm.transport import NativeJob, NoAccounting
from pman_core.errors import Unparseable
from tests.unit.slurmrestd_replies import AT, RECORDED, FakeService, Replayed, modern_accounted, modern_job, number

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OLD = ("v0.0.36", "v0.0.37", "v0.0.38")
ENDS = {
    "succeeds": ("COMPLETED", 0, 0),
    "fails": ("FAILED", 3, 0),
    "is_killed": ("FAILED", 0, 9),
    "takes_too_much": ("OUT_OF_MEMORY", 1, 125),
    "runs": ("RUNNING", None, 0),
    "is_cancelled": ("CANCELLED", 0, 15),
    "waits": ("PENDING", None, 0),
}


def by_name(jobs: Any) -> dict[str, NativeJob]:
    return {job.name: job for job in jobs}


@pytest.mark.parametrize("version", OLD)
def test_every_state_of_a_real_one_is_read(version: str) -> None:
    fake = FakeService()
    fake.will(f"/slurm/{version}/jobs", RECORDED[f"jobs_{version}"])
    found = by_name(Replayed(fake, served=f"/slurm/{version}/jobs").jobs())
    assert found.keys() == ENDS.keys()
    for name, (state, status, signal) in ENDS.items():
        job = found[name]
        assert (job.state, job.signal) == (state, signal), job
        if not signal:
            assert job.exit_status == status, job
        assert job.comment == "pman/1 recorded"
        assert job.user == ("" if version == "v0.0.36" else "root")
        assert job.submitted_at is not None
        assert (job.started_at is None) == (name == "waits")
        assert (job.finished_at is None) == (name in {"runs", "waits"})
        assert job.time_limit_minutes == 5
    assert found["waits"].reason == "JobHeldUser"
    assert found["succeeds"].reason == ""
    assert found["runs"].nodes.startswith("n")


@pytest.mark.parametrize("version", OLD)
def test_the_accounting_of_a_real_one_is_read_and_an_exit_code_that_it_has_lost_is_none(version: str) -> None:
    fake = FakeService()
    fake.will(f"/slurmdb/{version}/jobs", RECORDED[f"accounted_{version}"])
    transport = Replayed(fake, served=f"/slurm/{version}/jobs /slurmdb/{version}/jobs")
    found = by_name(transport.accounted([1, 2], LONG_AGO))
    assert {name: job.state for name, job in found.items()} == {name: ends[0] for name, ends in ENDS.items()}
    assert (found["succeeds"].exit_status, found["fails"].exit_status) == (0, None)
    assert (found["is_killed"].exit_status, found["is_killed"].signal) == (None, 9)
    assert found["takes_too_much"].signal == 125
    assert {job.time_limit_minutes for job in found.values()} == {5}
    assert found["runs"].finished_at is None


@pytest.mark.parametrize("version", [39, 40, 41, 42, 43])
@pytest.mark.parametrize(
    ("state", "status", "signal"),
    [
        ("COMPLETED", 0, 0),
        ("FAILED", 3, 0),
        ("FAILED", 0, 9),
        ("RUNNING", 0, 0),
        ("PENDING", 0, 0),
        ("COMPLETING", 0, 0),
    ],
)
def test_the_newer_shapes_are_read(version: int, state: str, status: int, signal: int) -> None:
    job = job_from(modern_job(version, state, status, signal))
    assert (job.job_id, job.state, job.signal, job.restarts) == (7, state, signal, 1)
    if state in {"COMPLETED", "FAILED"}:
        assert job.exit_status == (status if not signal or version == 39 else None)
        assert job.finished_at == datetime.fromtimestamp(AT + 9, UTC)
    else:
        assert (job.exit_status, job.finished_at) == (None, None)
    assert job.started_at == (None if state == "PENDING" else datetime.fromtimestamp(AT + 1, UTC))
    assert job.reason == ("Resources" if state in {"PENDING", "RUNNING"} else "")


def test_the_newer_accounting_is_read() -> None:
    job = accounted_from(modern_accounted("FAILED", 3))
    assert (job.state, job.exit_status, job.comment, job.user) == ("FAILED", 3, "pman/1", "pman")
    assert job.finished_at == datetime.fromtimestamp(AT + 9, UTC)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [(number(7), 7), (7, 7), (number(None), None), ({"set": True, "infinite": True, "number": 0}, None)]
    + [(told, None) for told in (None, 2**32 - 1, 2**32 - 2)],
)
def test_a_time_limit_without_end_is_none(limit: Any, minutes: int | None) -> None:
    assert job_from(modern_job(43, "TIMEOUT") | {"time_limit": limit}).time_limit_minutes == minutes
    accounted = modern_accounted("TIMEOUT")
    accounted["time"]["limit"] = limit
    assert accounted_from(accounted).time_limit_minutes == minutes


@pytest.mark.parametrize("unset", [number(None), {"set": True, "infinite": True, "number": 0}, None, 0])
def test_a_time_that_is_not_set_is_none(unset: Any) -> None:
    assert job_from(modern_job(43, "COMPLETED") | {"submit_time": unset}).submitted_at is None


def test_the_jobs_of_other_users_are_none_of_ours() -> None:
    fake = FakeService()
    fake.will("/slurm/v0.0.38/jobs", RECORDED["jobs_v0.0.38"])
    fake.will("/slurmdb/v0.0.38/jobs", RECORDED["accounted_v0.0.38"])
    assert Replayed(fake, user="pman").jobs() == []
    assert Replayed(fake, user="pman").accounted([1], LONG_AGO) == []


def test_of_a_requeued_job_the_last_run_is_told() -> None:
    fake = FakeService()
    first, last = modern_accounted("NODE_FAIL"), modern_accounted("COMPLETED")
    last["time"] = {"submission": AT + 100, "start": AT + 101, "end": AT + 102}
    fake.will("/slurmdb/v0.0.43/jobs", (200, {"jobs": [last, first], "errors": []}))
    transport = Replayed(fake, served="/slurm/v0.0.43/jobs/ /slurmdb/v0.0.43/jobs/", user="pman")
    assert [job.state for job in transport.accounted([7], LONG_AGO)] == ["COMPLETED"]


def test_a_job_of_the_same_number_from_before_is_left_out() -> None:
    fake = FakeService()
    fake.will("/slurmdb/v0.0.43/jobs", (200, {"jobs": [modern_accounted("COMPLETED")], "errors": []}))
    transport = Replayed(fake, served="/slurm/v0.0.43/jobs/ /slurmdb/v0.0.43/jobs/", user="pman")
    submitted_at = datetime.fromtimestamp(AT, UTC)
    assert transport.accounted([7], submitted_at + timedelta(seconds=0.9))
    assert not transport.accounted([7], submitted_at + timedelta(seconds=1))


def test_the_accounting_is_asked_in_chunks_and_nothing_found_is_an_answer() -> None:
    fake = FakeService()
    fake.will("/slurmdb/v0.0.38/jobs", RECORDED["accounted_nothing"])
    assert Replayed(fake).accounted(range(1, 1202), LONG_AGO) == []
    asked = [call.path for call in fake.calls if "step=" in call.path]
    assert [path.count("%2C") + 1 for path in asked] == [500, 500, 201]
    assert asked[2].endswith("1200%2C1201")


@pytest.mark.parametrize("keeps", [{}, {"accounting_storage": "accounting_storage/none"}])
def test_a_cluster_without_accounting_says_so(keeps: dict[str, str]) -> None:
    fake = FakeService()
    fake.will(
        "/slurmdb/v0.0.41/jobs",
        (200, {"jobs": [], "errors": [], "meta": {"plugin": {"type": "openapi/slurmdbd", **keeps}}}),
    )
    transport = Replayed(fake, served="/slurm/v0.0.41/jobs/" + (" /slurmdb/v0.0.41/jobs/" if keeps else ""))
    with pytest.raises(NoAccounting):
        transport.accounted([1], LONG_AGO)


@pytest.mark.parametrize(
    "answer",
    [
        {"jobs": [{"job_id": 1}]},
        {"jobs": None},
        {},
        [],
        {"jobs": [modern_job(43, "FAILED") | {"job_state": [], "user_name": "root"}]},
    ],
)
def test_an_unknown_shape_is_no_list(answer: Any) -> None:
    fake = FakeService()
    fake.will("/slurm/v0.0.38/jobs", (200, answer))
    with pytest.raises(Unparseable):
        Replayed(fake).jobs()


@pytest.mark.parametrize(("told", "waiting"), [(3, 3), (number(3), 3), (0, 0), (None, 0)])
def test_what_waits_for_slurmdbd_is_read_in_every_shape(told: Any, waiting: int) -> None:
    assert unaccounted_from({"statistics": {"agent_queue_size": 9, "dbd_agent_queue_size": told}}) == waiting
