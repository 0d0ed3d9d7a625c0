"""What a real Cromwell was recorded to do over time, held against the fake: delays, races, aborts, restarts.

The numbers in brackets name the recordings (``tests/recorded/cromwell``).
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from testbed.system import wait_for
from tests.fakes.cromwell import DEFAULT, LOCAL, FakeCromwell
from tests.unit.cromwell_life import (
    IDS,
    NEVER,
    SOURCE,
    abort,
    call,
    counting,
    execution,
    get,
    is_submitted,
    kill_from_outside,
    post,
    statuses,
    submits,
    timing,
    waiting_for,
)

pytestmark = pytest.mark.exhaustive

TAKEN = "Requested workflow IDs are already in use: {}"
RACE = "integrity constraint violation: unique constraint or index violation; UC_WORKFLOW_STORE_ENTRY_WEU"


# 1. The window (11, 90, 93, 100)


def test_it_is_unknown_after_its_submit_and_then_goes_through_all_states(tmp_path: Path) -> None:
    slow = timing(new_workflow_poll_s=NEVER, metadata_flush_s=NEVER)
    with FakeCromwell(tmp_path, LOCAL.but(timing=slow)) as cromwell:
        assert post(cromwell, IDS[0], *waiting_for(tmp_path / "go")).status_code == 201
        assert post(cromwell, IDS[0]).status_code == 400  # a duplicate is known at once
        assert get(cromwell, IDS[0], "status")["status"] == "fail"
        cromwell.hurry("metadata_flush_s")
        assert statuses(cromwell, IDS[0], "Submitted")[:-1] in ([], ["fail"])
        cromwell.hurry("new_workflow_poll_s")
        assert get(cromwell, IDS[0], "status")["status"] == "Submitted"
        cromwell.hurry("metadata_flush_s")
        assert statuses(cromwell, IDS[0], "Running")[:-1] in ([], ["Submitted"])
        (tmp_path / "go").touch()
        wait_for("it is over", lambda: not cromwell.workflows[0].state)
        assert get(cromwell, IDS[0], "status")["status"] == "Running"
        cromwell.hurry("metadata_flush_s")
        assert statuses(cromwell, IDS[0], "Succeeded")[:-1] in ([], ["Running"])


def test_it_may_run_while_it_is_unknown(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(metadata_flush_s=NEVER))) as cromwell:
        post(cromwell, IDS[0], "/bin/sleep", "600")
        wait_for("it is submitted", is_submitted(cromwell, IDS[0]))
        assert get(cromwell, IDS[0], "status")["status"] == "fail"
        assert abort(cromwell, IDS[0]) == "Aborting"
        wait_for("it is over", lambda: not cromwell.workflows[0].state)
        cromwell.hurry("metadata_flush_s")
        assert statuses(cromwell, IDS[0], "Aborted")[-1] == "Aborted"


# 2. Duplicates (12)


def test_of_twelve_at_once_one_is_taken_and_the_others_are_told_so(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path) as cromwell, ThreadPoolExecutor(12) as pool:
        cromwell.store.lost_races = 2
        replies = list(pool.map(lambda _: post(cromwell, IDS[0]), range(12)))
        assert sorted(reply.status_code for reply in replies) == [201] + 11 * [400]
        texts = [reply.json()["message"] for reply in replies if reply.status_code == 400]
        assert all(text == TAKEN.format(IDS[0]) or text.startswith(RACE) for text in texts)
        assert any(text.startswith(RACE) for text in texts)
        assert len(cromwell.workflows) == 1


# 3. Starts (91, 92)


def started_at(cromwell: FakeCromwell) -> list[float]:
    assert cromwell.engine is not None
    return [at for at, _ in cromwell.engine.started]


def test_one_workflow_starts_per_poll(tmp_path: Path) -> None:
    """Measured: 12.8, 32.6, 52.4, 72.2, 92.1 s."""
    scale = 0.02
    with FakeCromwell(tmp_path, LOCAL.but(timing=DEFAULT.scaled(scale))) as cromwell:
        for one in IDS[:5]:
            post(cromwell, one)
        wait_for("all have started", lambda: len(started_at(cromwell)) == 5)
        starts = started_at(cromwell)
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        assert min(gaps) >= 20 * scale


def test_a_hog_group_starts_at_once(tmp_path: Path) -> None:
    """Measured: 20 within 3.8 s."""
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(new_workflow_poll_s=1.0))) as cromwell:
        for one in IDS[:20]:
            post(cromwell, one, workflowOptions='{"hogGroup": "pman"}')
        wait_for("all have started", lambda: len(started_at(cromwell)) == 20)
        starts = started_at(cromwell)
        # In one poll, or in a few if some come between the POSTs of a busy machine: one by one it would be 19.
        assert starts[-1] - starts[0] < 19 / 2


def test_two_hog_groups_take_turns(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(max_launch_count=1, new_workflow_poll_s=NEVER))) as cromwell:
        assert cromwell.engine is not None
        cromwell.engine.kill()  # it polls when it is told to: when all are there
        for number, one in enumerate(IDS[:4]):
            post(cromwell, one, workflowOptions=json.dumps({"hogGroup": "a" if number < 2 else "b"}))
        for _ in range(4):
            cromwell.engine._poll_workflows()
        groups = ["a" if IDS.index(one) < 2 else "b" for _, one in cromwell.engine.started]
        assert groups == ["a", "b", "a", "b"]


# 4. Aborts (66, 72, 97, 100)


def test_an_abort_acts_with_the_next_scan_and_may_still_submit(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(abort_scan_s=NEVER, token_period_s=NEVER))) as cromwell:
        post(cromwell, IDS[0], "/bin/sleep", "600")
        wait_for("it runs", lambda: cromwell.workflows[0].state == "Running")
        assert not is_submitted(cromwell, IDS[0])()
        assert abort(cromwell, IDS[0]) == "Aborting"
        wait_for("its call waits for a token", lambda: cromwell.workflows[0].call)
        cromwell.hurry("token_period_s")
        assert is_submitted(cromwell, IDS[0])(), "all the same"
        assert statuses(cromwell, IDS[0], "Aborting")[-1] == "Aborting"
        cromwell.hurry("abort_scan_s")
        assert statuses(cromwell, IDS[0], "Aborted")[-1] == "Aborted"
        assert (execution(cromwell, IDS[0]) / "rc").read_text() == "143\n"
        assert call(cromwell, IDS[0])["executionStatus"] == "Aborted"


def test_an_abort_before_the_start_ends_it_and_status_tells_later(tmp_path: Path) -> None:
    slow = timing(new_workflow_poll_s=NEVER, metadata_flush_s=NEVER)
    with FakeCromwell(tmp_path, LOCAL.but(timing=slow)) as cromwell:
        post(cromwell, IDS[0])
        cromwell.hurry("metadata_flush_s")
        statuses(cromwell, IDS[0], "Submitted")
        assert abort(cromwell, IDS[0]) == "Aborted"
        assert get(cromwell, IDS[0], "status")["status"] == "Submitted"
        cromwell.hurry("metadata_flush_s")
        assert statuses(cromwell, IDS[0], "Aborted")[-1] == "Aborted"


# 5. Ends (98), and what the sources say of codes of signals


def test_a_job_killed_from_outside_gets_an_invented_code(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path) as cromwell:
        post(cromwell, IDS[0], *counting(600))
        wait_for("it runs", lambda: cromwell.workflows[0].job_id and submits(cromwell, IDS[0]) == 1)
        kill_from_outside(cromwell.workflows[0].job_id)
        statuses(cromwell, IDS[0], "Failed")
        entry = call(cromwell, IDS[0])
        assert (entry["returnCode"], entry["backendStatus"]) == (79, "Failed")


@pytest.mark.parametrize("code", [130, 137, 143])
def test_the_code_of_a_signal_is_an_abort_from_outside(tmp_path: Path, code: int) -> None:
    with FakeCromwell(tmp_path) as cromwell:
        post(cromwell, IDS[0], "/bin/bash", "-c", f"exit {code}")
        statuses(cromwell, IDS[0], "Failed")
        entry = call(cromwell, IDS[0])
        assert "returnCode" not in entry
        assert entry["failures"][0]["message"] == "The job was aborted from outside Cromwell"


def test_metadata_are_complete_when_the_status_is_terminal(tmp_path: Path) -> None:
    """(107)"""
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(metadata_summary_s=0.3))) as cromwell:
        post(cromwell, IDS[0], "/bin/echo", "hello")
        statuses(cromwell, IDS[0], "Succeeded")
        told = get(cromwell, IDS[0], "metadata")
        assert told["outputs"]["step.text"] == "hello"
        assert {"end", "status"} <= told.keys()
        assert call(cromwell, IDS[0]).keys() >= {"end", "returnCode", "outputs"}
        found = requests.get(f"{cromwell.url}/api/workflows/v1/query", params={"id": IDS[0]}, timeout=30).json()
        assert found["results"][0]["end"] == told["end"]


def test_an_end_is_noticed_ever_later(tmp_path: Path) -> None:
    """(108): polls after 0.5 and 4.5 s here, and the job ends after the first."""
    slow = timing(poll_initial_s=0.5, poll_factor=8.0, poll_max_s=60.0)
    with FakeCromwell(tmp_path, LOCAL.but(timing=slow)) as cromwell:
        post(cromwell, IDS[0], *waiting_for(tmp_path / "go"))
        wait_for("it was looked at", lambda: cromwell.workflows[0].call.get("backendStatus"))
        looked_s = time.time()
        (tmp_path / "go").touch()
        statuses(cromwell, IDS[0], "Succeeded")
        noticed_s = datetime.fromisoformat(call(cromwell, IDS[0])["end"]).timestamp()
        assert noticed_s - looked_s > 2 * 0.5, "as soon as at first"


def test_an_attribute_that_the_site_does_not_know_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeCromwell(tmp_path) as cromwell:
        asked = '  runtime { gpu: 1 container: "x" partition: "q" memory: "300 MB" memory_mb: 9 }\n  output {\n    File'
        post(cromwell, IDS[0], workflowSource=SOURCE.replace("  output {\n    File", asked, 1))
        statuses(cromwell, IDS[0], "Succeeded")
        assert call(cromwell, IDS[0])["runtimeAttributes"]["memory"] == f"{300 / 1024:g} GB"
    assert "Unrecognized runtime attribute keys: memory_mb, partition" in caplog.text


def test_an_attribute_of_the_wrong_type_fails_the_workflow(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path) as cromwell:
        asked = '  runtime { runtime_minutes: "an hour" }\n  output {\n    File'
        post(cromwell, IDS[0], workflowSource=SOURCE.replace("  output {\n    File", asked, 1))
        statuses(cromwell, IDS[0], "Failed")
        assert not is_submitted(cromwell, IDS[0])()


def test_a_site_may_run_jobs_in_the_background_of_cromwells_host(tmp_path: Path) -> None:
    """As Cromwell does without any configuration; its kill is SIGTERM for every process of the job."""
    background = LOCAL.but(submit="/bin/bash ${script}", run_in_background=True)
    with FakeCromwell(tmp_path, background) as cromwell:
        post(cromwell, IDS[0], "/bin/echo", "hello")
        post(cromwell, IDS[1], *counting(600))
        statuses(cromwell, IDS[0], "Succeeded")
        assert get(cromwell, IDS[0], "outputs")["outputs"]["step.text"] == "hello"
        wait_for("it runs", lambda: cromwell.workflows[1].job_id and submits(cromwell, IDS[1]) == 1)
        abort(cromwell, IDS[1])
        statuses(cromwell, IDS[1], "Aborted")
        job_id = call(cromwell, IDS[1])["jobId"]
        wait_for("it is gone", lambda: not Path(f"/proc/{job_id}/cmdline").exists())
