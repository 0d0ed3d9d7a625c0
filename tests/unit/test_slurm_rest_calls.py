"""What is asked of slurmrestd and what its refusals mean, on replies of a real one (``record_slurmrestd.py``)."""

import dataclasses
from typing import Any

import pytest

from backends._slurm.rest_order import body_of
from backends._slurm.rest_token import Tokens
from backends._slurm.rest_version import Version, choose
from backends._slurm.transport import SbatchOrder
from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable
from tests.unit.slurmrestd_replies import RECORDED, FakeService, Replayed

ORDER = SbatchOrder(
    script="#!/bin/bash\n",
    name="pman-x",
    comment="pman/1",
    work_dir="/store/10%",
    output="/store/10%/log",
    environment={"PATH": "/bin"},
    nodes=2,
    memory_mib=512,
    gres="gpu:2",
    time_limit_minutes=5,
)
SUBMIT, JOBS, PING = "/slurm/v0.0.38/job/submit", "/slurm/v0.0.38/jobs", "/slurm/v0.0.38/ping"
REFUSALS: dict[str, type[BackendError]] = {
    "no_environment": Rejected,
    "no_partition": Rejected,
    "too_many_gpus": Rejected,
    "too_much_memory": Rejected,
    "too_long": Rejected,
    "too_many_nodes": Rejected,
    "too_many_cpus": Rejected,
    "no_feature": Rejected,
    "no_reservation": Rejected,
    "no_licence": Rejected,
    "unknown_key": Rejected,
    "wrong_type": Rejected,
    "comment_too_long": Rejected,
    "script_too_long": Rejected,
    "no_token": Unavailable,
    "bad_token": Unavailable,
    "old_token": Unavailable,
    "controller_away": Unavailable,
}


def sequence(*tokens: str) -> Tokens:
    """Tokens of a command: one after the other."""

    class Listed(Tokens):
        rest = list(tokens)

        def current(self) -> str:
            return self.rest[0]

        def another(self, refused: str) -> str:
            assert refused == self.rest.pop(0)
            return self.rest[0] if self.rest else ""

    return Listed()


def test_every_refusal_that_was_recorded_has_a_meaning() -> None:
    recorded = {name.removeprefix("submit_") for name in RECORDED if name.startswith("submit_")}
    assert recorded - {"held"} == REFUSALS.keys()


@pytest.mark.parametrize(("name", "meaning"), REFUSALS.items())
def test_a_refusal_means_what_it_says(name: str, meaning: type[BackendError]) -> None:
    fake = FakeService()
    fake.will(SUBMIT, RECORDED[f"submit_{name}"])
    with pytest.raises(meaning) as raised:
        Replayed(fake).submit(ORDER)
    if meaning is Rejected:
        errors = RECORDED[f"submit_{name}"]["body"]["errors"]
        assert any(error.get("error", error.get("description")) in str(raised.value) for error in errors)


@pytest.mark.parametrize("what", ["no_token", "bad_token", "old_token", "controller_away"])
def test_a_question_without_an_answer_is_unavailable(what: str) -> None:
    fake = FakeService()
    for path, name in ((JOBS, "jobs"), (PING, "ping"), ("/slurm/v0.0.38/job/1", "cancel")):
        fake.will(path, RECORDED[f"{name}_{what}"])
    transport = Replayed(fake)
    for question in (transport.jobs, transport.ping, lambda: transport.cancel([1])):
        with pytest.raises(Unavailable):
            question()


def test_a_job_that_is_held_was_submitted() -> None:
    fake = FakeService()
    fake.will(SUBMIT, RECORDED["submit_held"])
    assert Replayed(fake).submit(ORDER) == RECORDED["submit_held"]["body"]["job_id"]


@pytest.mark.parametrize("name", ["cancel", "cancel_ended", "cancel_unknown"])
def test_to_cancel_what_is_not_there_is_no_error(name: str) -> None:
    fake = FakeService()
    fake.will("/slurm/v0.0.38/job/5", RECORDED[name])
    Replayed(fake).cancel([5])
    assert [call.method for call in fake.calls] == ["GET", "DELETE"]


def test_a_refused_order_of_a_question_is_never_a_rejection() -> None:
    fake = FakeService()
    fake.will("/slurm/v0.0.38/job/5", RECORDED["submit_no_partition"])
    with pytest.raises(Unparseable):
        Replayed(fake).cancel([5])


def test_an_answer_of_something_else_is_unparseable() -> None:
    fake = FakeService()
    fake.will(JOBS, (200, "<html>"), (500, {"errors": [{"error_number": 31337, "error": "?"}]}))
    transport = Replayed(fake)
    for _ in range(2):
        with pytest.raises(Unparseable):
            transport.jobs()


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_a_proxy_without_a_slurmrestd_behind_it_is_unavailable(code: int) -> None:
    fake = FakeService()
    fake.will(JOBS, (code, "<html>"))
    with pytest.raises(Unavailable):
        Replayed(fake).jobs()


# -- tokens


def test_a_strangers_job_of_an_unknown_shape_hides_none_of_ours() -> None:
    fake = FakeService()
    reply = RECORDED["jobs_v0.0.38"]["body"]
    stranger = {"job_id": 99, "user_name": "somebody", "job_state": None}
    fake.will(JOBS, (200, reply | {"jobs": [stranger, *reply["jobs"]]}))
    assert len(Replayed(fake).jobs()) == len(reply["jobs"])


def test_a_question_is_repeated_with_another_token() -> None:
    fake = FakeService()
    fake.will(JOBS, RECORDED["jobs_old_token"], RECORDED["jobs_v0.0.38"])
    assert Replayed(fake, sequence("old", "new")).jobs()
    assert [call.token for call in fake.calls if call.path == JOBS] == ["old", "new"]


def test_an_order_is_repeated_only_if_slurmrestd_itself_has_refused_it() -> None:
    fake = FakeService()
    fake.will(SUBMIT, RECORDED["submit_no_token"], RECORDED["submit"])
    assert Replayed(fake, sequence("old", "new")).submit(ORDER) > 0
    fake.will(SUBMIT, RECORDED["submit_old_token"], RECORDED["submit"])
    with pytest.raises(Unavailable):
        Replayed(fake, sequence("old", "new")).submit(ORDER)
    assert len([call for call in fake.calls if call.path == SUBMIT]) == 3


# -- versions


@pytest.mark.parametrize(
    ("served", "chosen"),
    [((36, 37, 38), 38), ((39, 40), 40), ((42, 43, 44), 43), ((45, 46), 45), ((35, 36), 36)],
)
def test_the_newest_known_version_is_spoken(served: tuple[int, ...], chosen: int) -> None:
    slash = "/" if chosen > 38 else ""
    paths = [f"/slurm/v0.0.{number}/jobs{slash}" for number in served]
    assert choose(paths) == Version(chosen, has_accounting=False)
    assert choose([*paths, f"/slurmdb/v0.0.{chosen}/jobs{slash}"]).has_accounting


@pytest.mark.parametrize("paths", [[], ["/slurm/v0.0.35/jobs"], ["/slurmdb/v0.0.38/jobs"]])
def test_without_a_known_version_this_machine_can_never_speak_to_slurm(paths: list[str]) -> None:
    with pytest.raises(Rejected):
        choose(paths)


def test_after_an_upgrade_of_slurm_the_version_is_asked_again() -> None:
    fake = FakeService()
    fake.will(JOBS, RECORDED["no_such_version"])
    transport = Replayed(fake)
    with pytest.raises(Unavailable):
        transport.jobs()
    fake.will("/openapi/v3", (200, {"paths": {"/slurm/v0.0.41/jobs/": None}}))
    fake.will("/slurm/v0.0.41/jobs", (200, {"jobs": [], "errors": [], "warnings": []}))
    assert transport.jobs() == []


def body(number: int, **changes: Any) -> Any:
    return body_of(dataclasses.replace(ORDER, **changes), Version(number, has_accounting=False))


def test_an_order_in_the_old_shape() -> None:
    assert body(38) == {
        "script": "#!/bin/bash\n",
        "job": {
            "name": "pman-x",
            "comment": "pman/1",
            "current_working_directory": "/store/10%",
            "standard_output": "/store/10%%/log",
            "open_mode": "append",
            "requeue": False,
            "environment": {"PATH": "/bin"},
            "nodes": [2, 2],
            "tasks": 2,
            "tasks_per_node": 1,
            "memory_per_node": 512,
            "time_limit": 5,
            "gres": "gpu:2",
        },
    }


@pytest.mark.parametrize(("number", "gres"), [(39, "gres:gpu:2"), (40, "gres/gpu:2"), (43, "gres/gpu:2")])
def test_an_order_in_the_new_shape(number: int, gres: str) -> None:
    job = body(number)["job"]
    assert job["script"] == "#!/bin/bash\n"
    assert job["environment"] == ["PATH=/bin"]
    assert (job["minimum_nodes"], job["maximum_nodes"], job["tres_per_node"]) == (2, 2, gres)
    assert job["memory_per_node"] == {"set": True, "infinite": False, "number": 512}
    assert job["time_limit"]["number"] == 5
    assert "qos" not in job


@pytest.mark.parametrize(
    ("option", "old", "new"),
    [
        (("nice", "5"), ("nice", 5), ("nice", 5)),
        (("reservation", "r"), ("reservation", "r"), ("reservation", "r")),
        (("exclusive", ""), ("exclusive", "exclusive"), ("shared", ["none"])),
        (
            ("mem-per-cpu", "64M"),
            ("memory_per_cpu", 64),
            ("memory_per_cpu", {"set": True, "infinite": False, "number": 64}),
        ),
        (("exclude", "n1"), None, ("excluded_nodes", ["n1"])),
    ],
)
def test_an_option_in_both_shapes(option: tuple[str, str], old: tuple[str, Any] | None, new: tuple[str, Any]) -> None:
    for number, expected in ((38, old), (43, new)):
        if expected is None:
            with pytest.raises(Rejected, match=option[0]):
                body(number, options=(option,))
        else:
            assert body(number, options=(option,))["job"][expected[0]] == expected[1]


@pytest.mark.parametrize("option", [("power", ""), ("nice", "much"), ("mem-per-cpu", "1G")])
def test_an_option_that_slurmrestd_does_not_know_is_refused(option: tuple[str, str]) -> None:
    with pytest.raises(Rejected, match=option[0]):
        body(43, options=(option,))
