"""What is submitted to Cromwell for a job: the whole multipart form, compared as a whole."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from backends._cromwell.settings import CromwellSettings
from backends._cromwell.workflow import (
    LABEL_CHARS_MAX,
    Task,
    build_attributes,
    build_form,
    build_site_attributes,
    build_wdl,
    label_faults,
    workflow_id,
)
from pman_core.errors import InvalidSettings
from pman_core.job import JobSpec
from pman_core.request import parse_request
from pman_core.settings import Settings, load
from tests.fakes.cromwell.wdl import prepare
from tests.unit.payloads import GENERATION, check_golden, request

GOLDEN = Path(__file__).parents[1] / "golden" / "cromwell"
TASK = Task(
    launcher="/srv/store/.pman/pman/cromwell/launcher.0123456789ab.bash",
    folder=f"/srv/it's a store/.pman/pman/cromwell/{GENERATION}",
    argv=b"python3\0--dir\0~{x} '\"\0",
    env=b"APPTAINERENV_SECRET=~{y} $(id)\0",
)


def spec(**fields: Any) -> JobSpec:
    return JobSpec(GENERATION, "pman", parse_request(request("~{x} '\"", "SECRET=~{y} $(id)") | fields))


def settings(**values: Any) -> Settings:
    return Settings(container_env="process", storebase=Path("/srv/store"), **values)


def form(job: JobSpec, common: Settings, **own: Any) -> dict[str, str]:
    of_site = load(CromwellSettings, own).cromwell_runtime_attributes
    return build_form(job, TASK, build_attributes(job, common, of_site), common.job_labels)


def readable(parts: dict[str, str]) -> dict[str, object]:
    """Return a form for a golden file: JSON as such, the WDL as lines."""
    return {
        name: text.splitlines() if name == "workflowSource" else json.loads(text) if text.startswith("{") else text
        for name, text in parts.items()
    }


@pytest.mark.parametrize(
    ("name", "fields", "common", "own"),
    [
        ("default", {}, {}, {}),
        (
            "everything",
            {"gpu_limit": 2, "cpu_limit": 1},
            {"timelimit_minutes": 90, "job_labels": (("site", "größer"), ("cost", "42"))},
            {"cromwell_runtime_attributes": "queue=debug,nodes=1,account=chris-1"},
        ),
        ("no-limits", {}, {"ignore_limits": True}, {}),
    ],
)
def test_the_whole_form(name: str, fields: dict[str, Any], common: dict[str, Any], own: dict[str, Any]) -> None:
    check_golden(GOLDEN / f"{name}.json", readable(form(spec(**fields), settings(**common), **own)))


def test_cromwell_leaves_every_attribute_in_the_wdl(tmp_path: Path) -> None:
    parts = form(spec(gpu_limit=2, time_limit=60), settings(), cromwell_runtime_attributes="queue=debug")
    prepared = prepare(parts["workflowSource"], json.loads(parts["workflowInputs"]))
    left = prepared.runtime(prepared.call_inputs(tmp_path), tmp_path)
    assert left.keys() > {"cpu", "memory", "gpus", "runtime_minutes", "queue"}


def test_what_only_looks_like_a_number_of_the_site_is_a_text() -> None:
    pairs = [("nodes", "1"), ("zero", "0"), ("account", "007"), ("project", str(2**31)), ("most", str(2**31 - 1))]
    found = build_site_attributes([*pairs, ("other", "٣")])
    assert found == {
        "nodes": 1, "zero": 0, "account": "007", "project": "2147483648", "most": 2**31 - 1, "other": "٣",
    }  # fmt: skip


def test_nothing_of_a_job_is_part_of_the_wdl() -> None:
    ours, other = form(spec(), settings()), form(spec(jid="other", args=["1"], memory_limit=7), settings())
    assert ours["workflowSource"] == other["workflowSource"]
    assert ours["workflowInputs"] != other["workflowInputs"]


def test_every_text_of_a_job_is_in_an_alphabet_that_nobody_has_to_quote() -> None:
    inputs = json.loads(form(spec(), settings())["workflowInputs"])
    texts = {name: value for name, value in inputs.items() if isinstance(value, str)}
    assert {base64.b64decode(text, validate=True) for text in texts.values()} == {
        TASK.launcher.encode(),
        TASK.folder.encode(),
        TASK.argv,
        TASK.env,
    }


def test_the_form_is_ascii_whatever_the_labels_are() -> None:
    parts = form(spec(), settings(job_labels=(("käse", "🧠"),)))
    assert all(text.isascii() for text in parts.values())
    assert json.loads(parts["labels"])["käse"] == "🧠"


def test_the_longest_jid_fits_into_its_label() -> None:
    labels = json.loads(form(spec(jid="x" * 253), settings())["labels"])
    assert all(0 < len(value) <= LABEL_CHARS_MAX for value in labels.values())


def test_one_id_for_one_generation_of_one_jid_of_one_instance() -> None:
    assert workflow_id("pman", "job", GENERATION) == "416b5d3d-44c7-598b-b291-e0c51d3ab694"
    others = [("pman2", "job", GENERATION), ("pman", "job2", GENERATION), ("pman", "job", GENERATION[:-1] + "0")]
    assert len({workflow_id(*key) for key in [("pman", "job", GENERATION), *others]}) == 4


def test_call_caching_never_answers_for_a_job() -> None:
    options = json.loads(form(spec(), settings())["workflowOptions"])
    assert (options["read_from_cache"], options["write_to_cache"]) == (False, False)


@pytest.mark.parametrize(
    ("minutes", "asked"),
    [(None, None), (1, 1), (90, 90), (0.005, 1), (1.5, 2)],
    ids=["none", "1", "90", "short", "1.5"],
)
def test_the_time_limit_is_a_runtime_attribute_in_whole_minutes(minutes: float | None, asked: int | None) -> None:
    common = settings().model_copy(update={"timelimit_minutes": minutes})
    assert build_attributes(spec(), common, ()).get("runtime_minutes") == asked


def test_a_job_may_ask_for_its_time_limit_up_to_the_sites() -> None:
    common = settings(timelimit_minutes=10, timelimit_max_minutes=60)
    asked = [build_attributes(spec(time_limit=minutes), common, ())["runtime_minutes"] for minutes in (5, 60, 600)]
    assert asked == [5, 60, 60]


def test_memory_is_asked_for_in_the_way_that_reaches_memory_mb() -> None:
    assert '    memory: "~{memory_mb} MB"\n' in build_wdl({"memory_mb": 1})
    assert "    memory_mb: memory_mb\n" not in build_wdl({"memory_mb": 1})


@pytest.mark.parametrize("key", ["pman-jid", "pman-anything", "cromwell-workflow-id", "x" * 256])
def test_labels_that_cannot_be_are_named(key: str) -> None:
    assert [fault.field for fault in label_faults([("fine", "yes"), (key, "v")])] == ["JOB_LABELS"]
    assert [fault.field for fault in label_faults([("k", "x" * 256)])] == ["JOB_LABELS"]


@pytest.mark.parametrize(
    "text", ["memory=1", "docker=alpine", "task=1", "a b=1", "1a=1", "queue=a,queue=b", f"queue={'x' * 256}", "queue"]
)
def test_runtime_attributes_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="CROMWELL_RUNTIME_ATTRIBUTES"):
        load(CromwellSettings, {"cromwell_runtime_attributes": text})
