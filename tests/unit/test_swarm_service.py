"""What a swarm is sent for a job: whole bodies against ``tests/golden/engine``, rewritten by REWRITE_GOLDEN=yes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from backends._engine.labels import SPEC, identity_of, spec_of
from backends._engine.mounts import Mount, NfsFolders
from backends._swarm.endings import ENDED, read_label
from backends._swarm.service import (
    NOWHERE,
    build_resources,
    build_service,
    ended,
    verbatim,
)
from backends.swarm import SwarmSettings
from pman_core.errors import InvalidSettings, Rejected
from pman_core.job import JobSpec
from pman_core.request import JobRequest
from pman_core.settings import Settings, load, load_settings
from tests.unit.payloads import GENERATION, request

GOLDEN = Path(__file__).parents[1] / "golden" / "engine"
MOUNTS = [
    {"Type": "bind", "Source": "/store/job/in {{x}}", "Target": "/share/incoming", "ReadOnly": True},
    {"Type": "bind", "Source": "/store/job/out", "Target": "/share/outgoing", "ReadOnly": False},
]
BODY = request("it's {{.Service.Name}} $HOME", "A=1", "B={{.Service.Name}}=y")


def spec(**fields: Any) -> JobSpec:
    return JobSpec(GENERATION, "site", JobRequest(**(BODY | fields)))


def common(**values: Any) -> Settings:
    return load_settings(**({"container_env": "swarm", "storebase": "/store"} | values))


def body(
    job: JobSpec,
    settings: Settings | None = None,
    mounts: list[Mount] | None = None,
    api_version: str = "1.41",
    **own: Any,
) -> dict[str, Any]:
    mine = SwarmSettings(**own)
    settings = settings or common()
    resources = build_resources(
        job,
        settings,
        reserve=mine.swarm_reserve,
        memory_soft=mine.memory_limit_soft,
        pids_limit=mine.pids_limit,
        gpu_resource=mine.swarm_gpu_resource,
    )
    return build_service(
        job,
        settings,
        MOUNTS if mounts is None else mounts,
        mine.swarm_constraints,
        resources=resources,
        drop_capabilities=mine.drop_capabilities,
        api_version=api_version,
    )


CASES: dict[str, dict[str, Any]] = {
    "swarm-default": body(spec()),
    "swarm-everything": body(
        spec(number_of_workers=3, gpu_limit=2),
        common(
            container_user="1000:2000",
            shm_size=64,
            job_labels="site=a",
            enable_home_workaround=True,
            timelimit_minutes=5,
        ),
        api_version="1.44",
        swarm_constraints="node.role==worker,node.labels.zone!=b",
        drop_capabilities=True,
        swarm_gpu_resource="NVIDIA-GPU",
    ),
    "swarm-no-limits": body(spec(gpu_limit=1), common(ignore_limits=True), pids_limit=None),
    "swarm-soft-memory": body(spec(), memory_limit_soft=True, swarm_reserve=False),
    "swarm-nfs": body(spec(), mounts=NfsFolders("server", Path("/no/{{export}}")).mounts(spec(), None)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_body_is_as_before(name: str) -> None:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(json.dumps(CASES[name], indent=1, ensure_ascii=False) + "\n")
    assert CASES[name] == json.loads(path.read_text())


def test_service_and_container_say_whose_they_are_and_the_service_how_to_do_it_again() -> None:
    made = CASES["swarm-default"]
    inner = made["TaskTemplate"]["ContainerSpec"]["Labels"]
    assert identity_of(made["Labels"]) == identity_of(inner) is not None
    assert spec_of(made["Labels"]) == spec()
    assert SPEC not in inner


@pytest.mark.parametrize("text", ["", "{", "{{", "{{{", "{{{{", "{{{{{", "}}", "{{.Node.ID}}", "{{- x -}}", '{{"{{"}}'])
def test_the_escape_is_undone_by_expansion(text: str) -> None:
    assert expand(verbatim(text)) == text


def expand(template: str) -> str:
    """Expand as Go does; the only action there is, is the string of two braces."""
    action, done = '{{"{{"}}', ""
    while (at := template.find("{{")) >= 0:
        assert template[at:].startswith(action)
        done, template = done + template[:at] + "{{", template[at + len(action) :]
    return done + template


def test_a_soft_limit_and_no_reservation_is_a_reservation_of_memory() -> None:
    resources = CASES["swarm-soft-memory"]["TaskTemplate"]["Resources"]
    assert "MemoryBytes" not in resources["Limits"]
    assert resources["Reservations"] == {"MemoryBytes": 300 * 2**20}


def test_only_an_engine_that_has_it_is_asked_for_no_new_privileges() -> None:
    for version, expected in (("1.41", None), ("1.43", None), ("1.44", {"NoNewPrivileges": True})):
        container = body(spec(), api_version=version)["TaskTemplate"]["ContainerSpec"]
        assert container.get("Privileges") == expected


def test_a_job_that_no_swarm_could_store_is_refused() -> None:
    assert body(spec(args=["x" * 100_000] * 2))
    with pytest.raises(Rejected, match="too large for a swarm"):
        body(spec(args=["x" * 100_000] * 5))


def test_an_end_changes_the_labels_and_the_place_alone() -> None:
    before = CASES["swarm-everything"]
    after = ended(before, {ENDED: "{}"})
    assert after["Labels"] == before["Labels"] | {ENDED: "{}"}
    assert after["TaskTemplate"]["Placement"] == {"Constraints": [NOWHERE]}
    after["Labels"], after["TaskTemplate"]["Placement"] = before["Labels"], before["TaskTemplate"]["Placement"]
    assert after == before == json.loads((GOLDEN / "swarm-everything.json").read_text())


@pytest.mark.parametrize("value", ["", "no json", "[]", "1"])
def test_a_label_that_is_not_ours_is_empty(value: str) -> None:
    assert read_label({"name": value}, "name") == {}


def test_a_constraint_has_an_operator() -> None:
    with pytest.raises(InvalidSettings, match=r"node\.role==worker"):
        load(SwarmSettings, {"swarm_constraints": "node.role==worker,gpu"})
