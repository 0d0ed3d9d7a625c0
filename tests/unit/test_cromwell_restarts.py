"""The fake Cromwell is ended and comes back, as a real one was in the recordings 80 to 84."""

import time
from pathlib import Path

import pytest
import requests

from testbed.system import wait_for
from tests.fakes.cromwell import LOCAL, FakeCromwell
from tests.unit.cromwell_life import (
    IDS,
    NEVER,
    abort,
    call,
    counting,
    execution,
    get,
    kill_from_outside,
    post,
    statuses,
    submits,
    timing,
    waiting_for,
)

pytestmark = pytest.mark.exhaustive


def test_after_sigterm_it_goes_on_at_once_without_a_second_submit(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(heartbeat_ttl_s=NEVER))) as cromwell:
        post(cromwell, IDS[0], *waiting_for(tmp_path / "go"))
        wait_for("it runs", lambda: submits(cromwell, IDS[0]) == 1)
        cromwell.stop()
        cromwell.start()
        (tmp_path / "go").touch()
        statuses(cromwell, IDS[0], "Succeeded")
        assert submits(cromwell, IDS[0]) == 1
        assert events(cromwell, IDS[0]) == ["Finished", "PickedUp", "PickedUp"]


def events(cromwell: FakeCromwell, workflow_id: str) -> list[str]:
    told = get(cromwell, workflow_id, "metadata")["workflowProcessingEvents"]
    return sorted(event["description"] for event in told)


def test_after_sigkill_it_goes_on_when_its_heartbeat_is_old(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(heartbeat_ttl_s=2.0, heartbeat_s=0.5))) as cromwell:
        post(cromwell, IDS[0], *waiting_for(tmp_path / "go"))
        wait_for("its id is safe", lambda: cromwell.workflows[0].job_id and submits(cromwell, IDS[0]) == 1)
        cromwell.kill()
        beaten_at_s = cromwell.workflows[0].heartbeat_at
        cromwell.start()
        assert cromwell.workflows[0].state == "Running"
        (tmp_path / "go").touch()
        wait_for("it has ended", (execution(cromwell, IDS[0]) / "rc").exists)
        time.sleep(0.2)
        told = get(cromwell, IDS[0], "status")["status"]
        # Nobody looks after it yet; on a busy machine its last heartbeat may be old by now.
        assert told == "Running" or time.time() - beaten_at_s > 2.0
        statuses(cromwell, IDS[0], "Succeeded")
        assert submits(cromwell, IDS[0]) == 1


def test_metadata_that_were_not_written_are_lost_by_sigkill_and_the_workflow_runs(tmp_path: Path) -> None:
    never = timing(metadata_flush_s=NEVER, new_workflow_poll_s=NEVER)
    with FakeCromwell(tmp_path, LOCAL.but(timing=never)) as cromwell:
        post(cromwell, IDS[0], labels='{"job": "j1"}')
        assert not cromwell.workflows[0].flushed
        cromwell.kill()
        cromwell.start()
        assert get(cromwell, IDS[0], "status")["status"] == "fail"
        cromwell.hurry("new_workflow_poll_s")
        wait_for("it is over", lambda: not cromwell.workflows[0].state)
        cromwell.hurry("metadata_flush_s")
        statuses(cromwell, IDS[0], "Succeeded")
        told = get(cromwell, IDS[0], "metadata")
        assert told["labels"]["job"] == "j1"
        assert "submission" not in told
        (found,) = requests.get(f"{cromwell.url}/api/workflows/v1/query?label=job:j1", timeout=30).json()["results"]
        assert found.keys() >= {"id", "name", "status", "start", "end"}


def test_a_job_id_that_was_not_written_is_lost_by_sigkill_and_the_job_runs_twice(tmp_path: Path) -> None:
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(key_value_flush_s=NEVER))) as cromwell:
        post(cromwell, IDS[0], *waiting_for(tmp_path / "go"))
        wait_for("it runs", lambda: submits(cromwell, IDS[0]) == 1)
        cromwell.kill()
        cromwell.start()
        wait_for("it runs again", lambda: submits(cromwell, IDS[0]) == 2)
        (tmp_path / "go").touch()


def test_what_ended_or_was_lost_while_it_was_down(tmp_path: Path) -> None:
    """(84)"""
    with FakeCromwell(tmp_path) as cromwell:
        post(cromwell, IDS[0], *waiting_for(tmp_path / "go"))
        post(cromwell, IDS[1], *counting(600))
        wait_for("both run", lambda: submits(cromwell, IDS[0]) == submits(cromwell, IDS[1]) == 1)
        wait_for("ids are safe", lambda: all(one.job_id for one in cromwell.workflows))
        cromwell.stop()
        (tmp_path / "go").touch()
        wait_for("one has ended", (execution(cromwell, IDS[0]) / "rc").exists)
        lost = next(one for one in cromwell.workflows if one.id == IDS[1])
        kill_from_outside(lost.job_id)
        cromwell.start()
        statuses(cromwell, IDS[0], "Succeeded")
        statuses(cromwell, IDS[1], "Failed")
        message = call(cromwell, IDS[1])["failures"][0]["message"]
        rc = execution(cromwell, IDS[1]) / "rc"
        assert message == f"Unable to determine that {lost.job_id} is alive, and {rc} does not exist."


def test_an_abort_outlives_a_restart(tmp_path: Path) -> None:
    """(83)"""
    with FakeCromwell(tmp_path, LOCAL.but(timing=timing(abort_scan_s=NEVER))) as cromwell:
        post(cromwell, IDS[0], *counting(600))
        wait_for("it runs", lambda: cromwell.workflows[0].job_id and submits(cromwell, IDS[0]) == 1)
        assert abort(cromwell, IDS[0]) == "Aborting"
        cromwell.stop()
        cromwell.site = cromwell.site.but(timing=timing(new_workflow_poll_s=NEVER))
        cromwell.start()
        assert get(cromwell, IDS[0], "status")["status"] == "Aborting"
        cromwell.hurry("new_workflow_poll_s")
        assert statuses(cromwell, IDS[0], "Aborted")[-1] == "Aborted"
