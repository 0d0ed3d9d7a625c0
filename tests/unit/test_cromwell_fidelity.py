"""The fake Cromwell answers as a real one was recorded to answer, so that it cannot drift away from it unnoticed.

Every recording of one request is asked once more, at a fake that was brought into the same state, and the answers are
compared. What is not compared is named with the reason; of loops over time see ``test_cromwell_facts.py`` and
``test_cromwell_restarts.py``.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed.system import wait_for
from tests.fakes.cromwell import LOCAL, FakeCromwell, Site
from tests.fakes.cromwell.store import Workflow
from tests.unit.cromwell_groups import (
    ABORTS_BEFORE_START,
    EARLIER_QUERIES,
    EARLY,
    ENDED,
    HOLD,
    LAGGING,
    NEW_IDS,
    NO_STATE,
    NOT_COMPARED,
    OTHER_PARSER,
    POSTS,
    QUERIES,
    REJECTED,
    RUNNING,
    SLURM_ENDED,
    SLURM_RUNNING,
    WINDOW,
)
from tests.unit.cromwell_life import NEVER
from tests.unit.cromwell_life import timing as with_times
from tests.unit.cromwell_recordings import RECORDED, Comparison, read

OK, FAIL7, INVALID = (
    "9959e630-a778-551e-baa7-5ba24f0f86b1",
    "96982b8b-6f4f-51d9-85e9-d7c0f08a9869",
    "2203aa39-c4a1-5311-b544-7890af62d019",
)
MISSING, UNSTARTED, SLEEPER = (
    "86d15d26-503f-5341-b63a-06d384524454",
    "2f3f1300-d735-544a-9f54-44ceed09a775",
    "a4f4705f-2a7d-5fab-a5e0-04683f9ab8f3",
)
IDLE = with_times(new_workflow_poll_s=NEVER)
"""It takes workflows and starts none."""
PLAIN = LOCAL.but(backend="Local", attributes="", exit_code_timeout_s=None)
"""The recorder's Local backend."""
SLURM = PLAIN.but(
    backend="SLURM",
    attributes='Int cpu = 1\nInt memory_mb = 256\nInt runtime_minutes = 60\nString queue = "debug"',
    exit_code_timeout_s=15,
)


def test_every_recording_is_compared_or_named_with_the_reason() -> None:
    groups = [
        *(NO_STATE, POSTS, NEW_IDS, HOLD, ABORTS_BEFORE_START, WINDOW, RUNNING, EARLY, ENDED, OTHER_PARSER),
        *(SLURM_ENDED, SLURM_RUNNING, REJECTED, LAGGING, QUERIES, EARLIER_QUERIES),
    ]
    compared = [name for group in groups for name in group]
    assert len(compared) == len(set(compared))
    assert {path.stem for path in RECORDED.glob("*.txt")} == {*compared, *NOT_COMPARED}
    assert not set(compared) & NOT_COMPARED.keys()


@contextmanager
def compared(folder: Path, site: Site) -> Iterator[tuple[FakeCromwell, Comparison]]:
    with FakeCromwell(folder, site) as cromwell:
        comparison = Comparison(cromwell.url, cromwell.site.root)
        yield cromwell, comparison
        assert comparison.differences == []


def status(cromwell: FakeCromwell, workflow_id: str) -> str:
    reply = requests.get(f"{cromwell.url}/api/workflows/v1/{workflow_id}/status", timeout=30)
    return str(reply.json()["status"])


def sum_up(cromwell: FakeCromwell) -> None:
    """Let `status` and `query` know all that there is to be told."""
    cromwell.hurry("metadata_flush_s")
    cromwell.hurry("metadata_summary_s")


def wait_status(cromwell: FakeCromwell, wanted: str, *workflow_ids: str) -> None:
    for one in workflow_ids:
        wait_for(f"{one} is {wanted}", lambda one=one: status(cromwell, one) == wanted)  # type: ignore[misc]


def post(cromwell: FakeCromwell, workflow_id: str, **parts: str) -> None:
    """Post the recorder's workflow; ``inputs`` and ``labels`` are as in a recording's metadata."""
    files = {name: (None, text) for name, text in parts.items()}
    files.setdefault("workflowSource", (None, read("30-metadata-succeeded-full").json()["submittedFiles"]["workflow"]))
    files["requestedWorkflowId"] = (None, workflow_id)
    reply = requests.post(f"{cromwell.url}/api/workflows/v1", files=files, timeout=30)
    assert reply.status_code == 201, reply.text


def post_recorded(cromwell: FakeCromwell, name: str) -> str:
    """Post the workflow that a recording tells of; return its id."""
    told = read(name).json()
    files = told["submittedFiles"]
    post(
        cromwell,
        told["id"],
        workflowSource=files["workflow"],
        workflowInputs=files["inputs"],
        labels=files["labels"],
    )
    return str(told["id"])


def test_answers_that_need_no_workflow(tmp_path: Path) -> None:
    with compared(tmp_path, PLAIN.but(timing=IDLE)) as (_, comparison):
        comparison.ask(*NO_STATE)


def test_submissions(tmp_path: Path) -> None:
    with compared(tmp_path, PLAIN.but(timing=IDLE)) as (_, comparison):
        comparison.ask(*POSTS)
        comparison.ask(*NEW_IDS, masks=("id",))


def test_a_workflow_on_hold(tmp_path: Path) -> None:
    with compared(tmp_path, PLAIN.but(timing=IDLE)) as (cromwell, comparison):
        comparison.ask(HOLD[0])
        wait_status(cromwell, "On Hold", "1c2b2bc1-351e-53eb-948d-de14fb2c754d")
        comparison.ask(*HOLD[1:])


@pytest.mark.exhaustive
def test_aborts_before_the_start(tmp_path: Path) -> None:
    slow = with_times(IDLE, metadata_summary_s=NEVER)
    with compared(tmp_path, PLAIN.but(timing=slow)) as (cromwell, comparison):
        fresh = "2a0be6f5-50cb-51e4-8195-805c2ba69bec"
        post(cromwell, fresh)
        comparison.ask(*ABORTS_BEFORE_START[:2])
        sum_up(cromwell)
        assert status(cromwell, fresh) == "Aborted"
        comparison.ask(ABORTS_BEFORE_START[2])
        assert post_recorded(cromwell, "39-metadata-aborted-before-start") == UNSTARTED
        sum_up(cromwell)
        assert status(cromwell, UNSTARTED) == "Submitted"
        comparison.ask(*ABORTS_BEFORE_START[3:6])
        sum_up(cromwell)
        assert status(cromwell, UNSTARTED) == "Aborted"
        comparison.ask(ABORTS_BEFORE_START[6])


@pytest.mark.exhaustive
def test_a_workflow_that_runs_but_is_not_told_of_yet(tmp_path: Path) -> None:
    hidden = with_times(metadata_summary_s=NEVER, abort_scan_s=NEVER)
    with compared(tmp_path, PLAIN.but(timing=hidden)) as (cromwell, comparison):
        workflow_id = "824cc079-b622-5594-9331-304b0b0d4bbd"
        post(cromwell, workflow_id, workflowInputs='{"step.argv": ["/bin/sleep", "5"]}')
        wait_for("it runs", lambda: cromwell.workflows[0].state == "Running")
        comparison.ask(*WINDOW)


@pytest.mark.exhaustive
def test_a_running_workflow_and_its_abort(tmp_path: Path) -> None:
    timing = with_times(abort_scan_s=NEVER)
    with compared(tmp_path, PLAIN.but(timing=timing)) as (cromwell, comparison):
        assert post_recorded(cromwell, "21d-metadata-running-late") == SLEEPER
        wait_for("it has its metadata", lambda: "stdout" in told(cromwell, SLEEPER))
        told_of_call = told(cromwell, SLEEPER)
        assert told_of_call.keys() >= read(RUNNING[1]).json()["calls"]["step.run"][0].keys()
        # The recorder asked before the metadata told of the job's id.
        before_job_id(cromwell, SLEEPER, lambda: comparison.ask(*RUNNING[:4]))
        comparison.ask(*RUNNING[4:6])
        cromwell.hurry("abort_scan_s")
        wait_status(cromwell, "Aborted", SLEEPER)
        comparison.ask(*RUNNING[6:])


def told(cromwell: FakeCromwell, workflow_id: str) -> dict[str, Any]:
    """Return what metadata tell of the call."""
    found = cromwell.store.find(workflow_id)
    assert found is not None
    calls = found.flushed.get("calls", {}).values()
    return next(iter(calls))[0] if calls else {}


def before_job_id(cromwell: FakeCromwell, workflow_id: str, ask: Any) -> None:
    """Ask while what is told of the call is what was told before `submit` had returned."""
    found = cromwell.store.find(workflow_id)
    assert found is not None
    wait_for("the poll has been told", lambda: "backendStatus" in told(cromwell, workflow_id))
    call = {key: value for key, value in told(cromwell, workflow_id).items() if key not in {"jobId", "backendStatus"}}
    with cromwell.store.changed:  # nothing is flushed meanwhile
        found.flushed = found.flushed | {"calls": {"step.run": [call]}}
        ask()


@pytest.mark.exhaustive
def test_a_workflow_whose_call_has_not_begun(tmp_path: Path) -> None:
    timing = with_times(call_start_s=NEVER)
    with compared(tmp_path, PLAIN.but(timing=timing)) as (cromwell, comparison):
        post_recorded(cromwell, "21d-metadata-running-late")
        wait_status(cromwell, "Running", SLEEPER)
        comparison.ask(*EARLY)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCromwell]:
    """A Cromwell with workflows that have ended."""
    with FakeCromwell(tmp_path_factory.mktemp("ended"), PLAIN) as cromwell:
        recorded = ("30-metadata-succeeded-full", "33-metadata-failed7-full", "36-metadata-invalid-wdl",
                    "36c-metadata-missing-input")  # fmt: skip
        for name in recorded:
            post_recorded(cromwell, name)
        wait_status(cromwell, "Succeeded", OK)
        wait_status(cromwell, "Failed", FAIL7, INVALID, MISSING)
        yield cromwell


@pytest.mark.exhaustive
def test_workflows_that_have_ended(ended: FakeCromwell) -> None:
    comparison = Comparison(ended.url, ended.site.root)
    patch = ENDED.index("51-labels-patch") + 1
    comparison.ask(*ENDED[:patch])
    labels = f"{ended.url}/api/workflows/v1/{OK}/labels"
    wait_for("labels are told", lambda: "new-Label_1" in requests.get(labels, timeout=30).json()["labels"])
    comparison.ask(*ENDED[patch:])
    comparison.ask("36-metadata-invalid-wdl", masks=("message",))
    comparison.ask("106-describe", masks=("errors",))
    assert comparison.differences == []


@pytest.mark.exhaustive
def test_workflows_that_have_ended_on_slurm(tmp_path: Path) -> None:
    with compared(tmp_path, SLURM) as (cromwell, comparison):
        failed = post_recorded(cromwell, "94-slurm-metadata-failed7")
        succeeded = post_recorded(cromwell, "94d-slurm-metadata-succeeded")
        comparison.ask("105-post-continueOnReturnCode")
        wait_status(cromwell, "Failed", failed)
        wait_status(cromwell, "Succeeded", succeeded, "a530cb83-df74-521f-ac2c-6b3d3b25f084")
        comparison.ask(*SLURM_ENDED)


@pytest.mark.exhaustive
def test_a_workflow_that_runs_on_slurm_and_its_abort(tmp_path: Path) -> None:
    with compared(tmp_path, SLURM) as (cromwell, comparison):
        running = read(SLURM_RUNNING[0]).json()["id"]
        post(cromwell, running, workflowInputs='{"step.argv": ["/bin/sleep", "300"]}')
        before_job_id(cromwell, running, lambda: comparison.ask(SLURM_RUNNING[0]))
        wait_status(cromwell, "Running", running)
        comparison.ask(SLURM_RUNNING[1])
        wait_status(cromwell, "Aborted", running)
        comparison.ask(SLURM_RUNNING[2])


@pytest.mark.exhaustive
def test_a_job_that_the_scheduler_rejects(tmp_path: Path) -> None:
    refusing = SLURM.but(submit="echo 'sbatch: error: Invalid partition name specified' >&2; exit 1 # ${script}")
    with compared(tmp_path, refusing) as (cromwell, comparison):
        rejected = read(REJECTED[0]).json()["id"]
        post(cromwell, rejected, workflowInputs='{"step.argv": ["/bin/true"]}')
        wait_status(cromwell, "Failed", rejected)
        comparison.ask(*REJECTED)
        stderr = cromwell.site.root / f"step/{rejected}/call-run/execution/stderr.submit"
        assert "Invalid partition name" in stderr.read_text()


# What `query` answers from: the state of the recorder's server when it was asked


def fill(cromwell: FakeCromwell, *names: str) -> None:
    """Give it the workflows that were recorded in answers to queries, the oldest first."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        for entry in read(name).json()["results"]:
            found[entry["id"]] = found.get(entry["id"], {}) | entry
    for name in ("41c-query-label-two-keys", "44-query-page"):
        for entry in read(name).json()["results"]:
            if entry["id"] in found and "labels" not in found[entry["id"]]:
                own = f"cromwell-{entry['id']}"
                found[entry["id"]]["labels"] = {"job": "j1", "tenant": "acme", "cromwell-workflow-id": own}
    # The order of one answer decides where several have it.
    order = [entry["id"] for entry in reversed(read("40-query-all").json()["results"])]
    later = sorted(found.keys() - order, key=lambda one: found[one].get("submission", ""))
    for number, workflow_id in enumerate([*order, *later], 1):
        told = found.get(workflow_id, {})
        summary = {key: value for key, value in told.items() if key != "metadataArchiveStatus"}
        add(cromwell, summary | {"id": workflow_id}, number)


def add(cromwell: FakeCromwell, summary: dict[str, Any], number: int) -> None:
    texts = dict.fromkeys(("source", "inputs", "options", "labels", "kind", "state", "hog_group"), "")
    workflow = Workflow(id=summary["id"], number=0, summary={"labels": {}} | summary, summary_number=number, **texts)
    cromwell.store.add(workflow)


def test_queries(tmp_path: Path) -> None:
    with compared(tmp_path, PLAIN.but(timing=IDLE)) as (cromwell, comparison):
        fill(cromwell, *EARLIER_QUERIES, *QUERIES)
        # One that no recorded answer but the number of all of them tells of: that of the twelve at once.
        add(cromwell, {"id": "2e3a2a98-9a51-5c53-9967-ead40d85317b", "status": "Succeeded", "name": "step"}, 0)
        comparison.ask(*QUERIES)


def test_an_earlier_query(tmp_path: Path) -> None:
    with compared(tmp_path, PLAIN.but(timing=IDLE)) as (cromwell, comparison):
        fill(cromwell, *EARLIER_QUERIES)
        comparison.ask(*EARLIER_QUERIES)


@pytest.mark.exhaustive
def test_labels_that_were_changed_are_told_later(tmp_path: Path) -> None:
    timing = with_times(IDLE, metadata_summary_s=NEVER)
    with compared(tmp_path, PLAIN.but(timing=timing)) as (cromwell, comparison):
        told = read("45-query-id").json()["results"][1]
        post(cromwell, OK, labels=json.dumps({"job": "j1", "tenant": "acme"}))
        found = cromwell.workflows[0]
        found.live |= {"status": "Succeeded", "workflowName": "step", "start": told["start"], "end": told["end"]}
        sum_up(cromwell)
        assert status(cromwell, OK) == "Succeeded"
        read("51-labels-patch").ask(cromwell.url)
        comparison.ask(*LAGGING[:2])
        sum_up(cromwell)
        comparison.ask(LAGGING[2])
