"""The fake Cromwell answers as a real one was recorded to answer, so that it cannot drift away from it unnoticed.

Every recording of one request is asked once more, at a fake that was brought into the same state, and the answers are
compared. What is not compared is named with the reason; of loops over time see ``test_cromwell_facts.py``.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed.system import wait_for
from tests.fakes.cromwell import FAST, LOCAL, FakeCromwell, Site
from tests.fakes.cromwell.store import Workflow
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
NEVER = 3600.0


def names(text: str) -> list[str]:
    return text.split()


IDLE = FAST.__class__(**vars(FAST) | {"new_workflow_poll_s": NEVER})
"""It takes workflows and starts none."""
PLAIN = LOCAL.but(backend="Local", attributes="", exit_code_timeout_s=None)
"""The recorder's Local backend."""
SLURM = PLAIN.but(
    backend="SLURM",
    attributes='Int cpu = 1\nInt memory_mb = 256\nInt runtime_minutes = 60\nString queue = "debug"',
    exit_code_timeout_s=15,
)

NO_STATE = names("""
    01-version 02-engine-status 03-backends 14-post-invalid-id 15a-post-invalid-inputs-json 15c-post-unknown-part
    15d-post-no-source 15e-post-label-not-string 15f-post-label-long 15g-post-options-bad 15h-post-not-multipart
    24-status-unknown 25-status-malformed 25b-status-short-uuid 26-unknown-path 28-unknown-metadata
    29-unknown-outputs 29b-unknown-logs 43-query-status-bad 43b-query-param-bad 43c-query-label-bad
    45b-query-id-unknown 45c-query-id-bad 46b-post-query-bad 46c-post-query-none 53-labels-patch-unknown
    54-labels-patch-malformed-id 67-abort-unknown 68-abort-malformed 69b-abort-get 104-post-9MB-inputs
    110d-slurm-post-invalid-id 111-slurm-abort-unknown
""")
POSTS = names("""
    10-post-ok 12a-post-same-id-immediately 12c-post-same-id-submitted 13-post-invalid-wdl 14b-post-id-uppercase
    15b-post-missing-input 60-post-for-abort-submitted 63-post2 103-post-batch 105-post-continueOnReturnCode
    110-slurm-post-ok 110b-slurm-post-same-id 110c-slurm-post-invalid-wdl
""")
NEW_IDS = ["15i-post-type-unknown", "15j-post-wdl-deprecated-key"]
HOLD = ["102-post-on-hold", "102b-status-on-hold", "102c-release", "102d-release-again"]
ABORTS_BEFORE_START = names("""
    61-abort-fresh-within-404-window 62-status-after-abort-fresh 62b-status-after-abort-fresh-later
    20-status-submitted 64-abort-submitted 65-abort-submitted-again 39-metadata-aborted-before-start
""")
WINDOW = names(
    """100-status-in-window 100a-metadata-in-window 100b-labels-patch-in-window 100c-abort-in-window-but-running"""
)
RUNNING = names("""
    21-status-running 21d-metadata-running-late 21e-logs-running-late 21f-outputs-running 70-abort-running
    71-abort-running-again 73-abort-aborted 74-metadata-aborted 75-logs-aborted
""")
EARLY = ["21b-metadata-running-early", "21c-logs-running-early"]
ENDED = names("""
    12b-post-same-id-after-succeeded 22-status-succeeded 23-status-failed 29c-unknown-version
    30-metadata-succeeded-full 31-metadata-succeeded-includekey 32-metadata-failed7-includekey
    33-metadata-failed7-full 34-logs-succeeded 34b-logs-failed7 35-outputs-succeeded 35b-outputs-failed7
    36b-status-invalid-wdl 36d-logs-invalid-wdl 36e-outputs-invalid-wdl 36c-metadata-missing-input
    37-metadata-include-and-exclude 37b-metadata-include-nonexistent 38-metadata-gzip 50-labels-get
    51-labels-patch 52c-labels-get-later 55-labels-patch-nonstring 56-labels-patch-long 57-labels-patch-badjson
    69-abort-succeeded
""")
OTHER_PARSER = ["36-metadata-invalid-wdl", "106-describe"]
SLURM_ENDED = names("""
    94-slurm-metadata-failed7 94b-slurm-logs-failed7 94c-slurm-outputs-failed7 94d-slurm-metadata-succeeded
    101-abort-failed 111b-slurm-abort-succeeded 105b-metadata-continueOnReturnCode
""")
SLURM_RUNNING = ["95-slurm-metadata-running", "96-slurm-abort-running", "97b-slurm-metadata-aborted"]
REJECTED = ["99-slurm-sbatch-rejected"]
LAGGING = ["52-labels-get-immediately", "52b-query-after-patch-immediately", "52d-query-after-patch-later"]
QUERIES = names("""
    41-query-label-one 41b-query-label-two-same-key 41c-query-label-two-keys 41d-query-labelor
    42-query-status-several 42b-query-status-terminal 43d-query-label-urlencoded 44-query-page 44b-query-page9
    44c-query-pagesize-only 45-query-id 46-post-query 47-query-name
""")
EARLIER_QUERIES = ["40-query-all"]

NOT_COMPARED = {
    "27-root": "the page for people is not served",
    "12d-post-same-id-concurrently": "twelve at once: test_cromwell_facts",
    "100d-status-after-abort-in-window": "a loop: test_cromwell_facts",
    "66-status-after-abort-submitted": "a loop: test_cromwell_facts",
    "72-status-after-abort-running": "a loop: test_cromwell_facts",
    "97-slurm-status-after-abort": "a loop: test_cromwell_facts",
    "97c-slurm-abort-latency": "a log of times: test_cromwell_facts",
    "97d-slurm-tuned-abort": "a log of times: test_cromwell_facts",
    "98-slurm-external-scancel": "a log of times: test_cromwell_facts",
    "107-metadata-at-terminal": "a loop: test_cromwell_facts",
    "108-slurm-end-detection": "two minutes; its back-off: test_cromwell_facts",
    "80-restart-sigterm-local": "a log of a restart: test_cromwell_facts",
    "81-restart-sigkill-local": "a log of a restart: test_cromwell_facts",
    "82-restart-sigterm-slurm": "a log of a restart: test_cromwell_facts",
    "83-abort-then-restart-slurm": "a log of a restart: test_cromwell_facts",
    "84-ended-or-lost-while-down-slurm": "a log of a restart: test_cromwell_facts",
    **dict.fromkeys(
        names("""
    11-fresh-status-loop-default 11b-fresh-status-loop-fast 11c-status-loop-fail7-fast 90a-slurm-default-status-loop
    90b-slurm-default-status-loop 90c-slurm-tuned-status-loop 93-slurm-fail7-status-loop
"""),
        "a loop over status: test_cromwell_facts",
    ),
    **dict.fromkeys(
        names("""
    91-slurm-default-burst5 92-slurm-fast-burst20 92b-slurm-fast-burst20-again 92c-slurm-tuned-burst20
    92d-slurm-tuned-burst20-hogGroup 92e-slurm-fast-burst20-hogGroup 92f-slurm-tuned-burst20-hogGroup
"""),
        "times of a burst: test_cromwell_facts",
    ),
}


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
    reply = requests.get(f"{cromwell.url}/api/workflows/v1/{workflow_id}/status", timeout=5)
    return str(reply.json()["status"])


def wait_status(cromwell: FakeCromwell, wanted: str, *workflow_ids: str) -> None:
    for one in workflow_ids:
        wait_for(f"{one} is {wanted}", lambda one=one: status(cromwell, one) == wanted)  # type: ignore[misc]


def post(cromwell: FakeCromwell, workflow_id: str, **parts: str) -> None:
    """Post the recorder's workflow; ``inputs`` and ``labels`` are as in a recording's metadata."""
    files = {name: (None, text) for name, text in parts.items()}
    files.setdefault("workflowSource", (None, read("30-metadata-succeeded-full").json()["submittedFiles"]["workflow"]))
    files["requestedWorkflowId"] = (None, workflow_id)
    reply = requests.post(f"{cromwell.url}/api/workflows/v1", files=files, timeout=5)
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
    slow = IDLE.__class__(**vars(IDLE) | {"metadata_summary_s": 1.0})
    with compared(tmp_path, PLAIN.but(timing=slow)) as (cromwell, comparison):
        fresh = "2a0be6f5-50cb-51e4-8195-805c2ba69bec"
        post(cromwell, fresh)
        comparison.ask(*ABORTS_BEFORE_START[:2])
        wait_status(cromwell, "Aborted", fresh)
        comparison.ask(ABORTS_BEFORE_START[2])
        assert post_recorded(cromwell, "39-metadata-aborted-before-start") == UNSTARTED
        wait_status(cromwell, "Submitted", UNSTARTED)
        comparison.ask(*ABORTS_BEFORE_START[3:6])
        wait_status(cromwell, "Aborted", UNSTARTED)
        comparison.ask(ABORTS_BEFORE_START[6])


@pytest.mark.exhaustive
def test_a_workflow_that_runs_but_is_not_told_of_yet(tmp_path: Path) -> None:
    hidden = FAST.__class__(**vars(FAST) | {"metadata_summary_s": NEVER, "abort_scan_s": NEVER})
    with compared(tmp_path, PLAIN.but(timing=hidden)) as (cromwell, comparison):
        workflow_id = "824cc079-b622-5594-9331-304b0b0d4bbd"
        post(cromwell, workflow_id, workflowInputs='{"step.argv": ["/bin/sleep", "5"]}')
        wait_for("it runs", lambda: cromwell.workflows[0].state == "Running")
        comparison.ask(*WINDOW)


@pytest.mark.exhaustive
def test_a_running_workflow_and_its_abort(tmp_path: Path) -> None:
    timing = FAST.__class__(**vars(FAST) | {"abort_scan_s": 1.0})
    with compared(tmp_path, PLAIN.but(timing=timing)) as (cromwell, comparison):
        assert post_recorded(cromwell, "21d-metadata-running-late") == SLEEPER
        wait_for("it has its metadata", lambda: "stdout" in told(cromwell, SLEEPER))
        told_of_call = told(cromwell, SLEEPER)
        assert told_of_call.keys() >= read(RUNNING[1]).json()["calls"]["step.run"][0].keys()
        # The recorder asked before the metadata told of the job's id.
        before_job_id(cromwell, SLEEPER, lambda: comparison.ask(*RUNNING[:4]))
        comparison.ask(*RUNNING[4:6])
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
    timing = FAST.__class__(**vars(FAST) | {"call_start_s": NEVER})
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
    wait_for("labels are told", lambda: "new-Label_1" in requests.get(labels, timeout=5).json()["labels"])
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
    timing = IDLE.__class__(**vars(IDLE) | {"metadata_summary_s": 1.0})
    with compared(tmp_path, PLAIN.but(timing=timing)) as (cromwell, comparison):
        told = read("45-query-id").json()["results"][1]
        post(cromwell, OK, labels=json.dumps({"job": "j1", "tenant": "acme"}))
        found = cromwell.workflows[0]
        found.live |= {"status": "Succeeded", "workflowName": "step", "start": told["start"], "end": told["end"]}
        wait_status(cromwell, "Succeeded", OK)
        summaries = time.monotonic()
        read("51-labels-patch").ask(cromwell.url)
        if time.monotonic() - summaries < 0.9:
            comparison.ask(*LAGGING[:2])
        wait_for("the labels are told", lambda: "new-Label_1" in found.summary["labels"])
        comparison.ask(LAGGING[2])
