"""Init containers that do not come up, on recordings of a real cluster: what is told, when a job is ended for it, and
whose log it has.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes.logs import workers_of
from backends._kubernetes.patience import AGAIN_S, Patience
from backends._kubernetes.state import observed_from
from backends._kubernetes.trouble import Trouble, may_be_stuck, trouble_of
from pman_core.backend import Observed
from pman_core.states import Reason, State
from tests.unit.kube_objects import Object, job, pod

LIVES = json.loads((Path(__file__).parents[1] / "recorded/kubernetes/init_containers.json").read_text())["lives"]
SIDECARS = ["sidecar, exit 7", "sidecar, startup probe fails"]
GRACE_S = 60.0
BACK_OFF = "back-off 10s restarting failed container=mesh"


def life(name: str) -> list[Object]:
    """Return the pod as it was, one change after the other."""
    return [pod() | {"status": status} for status in LIVES[name]]


def crashing(state: Object, **more: Any) -> Object:
    status = {
        "name": "mesh",
        "restartCount": 2,
        "started": False,
        "ready": False,
        "state": state,
        "lastState": {},
    } | more
    before = {"name": "first", "restartCount": 0, "started": False, "ready": True, "state": ended(0), "lastState": {}}
    shown = pod(state={"waiting": {"reason": "PodInitializing"}})
    return shown | {"status": shown["status"] | {"initContainerStatuses": [before, status]}}


def ended(code: int) -> Object:
    return {"terminated": {"exitCode": code, "reason": "Error"}}


def waits(message: str = BACK_OFF) -> Object:
    return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}


@pytest.mark.parametrize("name", SIDECARS)
def test_a_sidecar_that_crashes_for_ever_is_told_from_its_first_restart_on(name: str) -> None:
    told = [trouble_of([shown]) for shown in life(name)]
    first = next(number for number, trouble in enumerate(told) if trouble)
    counts = [
        shown["status"].get("initContainerStatuses", [{"restartCount": 0}])[0]["restartCount"] for shown in life(name)
    ]
    assert counts[first - 1] == 0
    assert counts[first] == 1
    troubles = [trouble for trouble in told[first:] if trouble is not None]
    assert len(troubles) == len(told) - first, "whatever it is just doing"
    assert {(trouble.native, trouble.reason) for trouble in troubles} == {("CrashLoopBackOff", Reason.START_FAILED)}


def test_the_message_is_the_kubelets_and_says_how_it_ended() -> None:
    [said, *_] = [trouble.message for shown in life("sidecar, exit 7") if (trouble := waiting_in(shown))]
    assert said.startswith("CrashLoopBackOff: back-off 10s restarting failed container=mesh pod=")
    assert said.endswith("; init container mesh, exit code 7, restart count 1")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"exitCode": 128, "reason": "StartError", "message": "no such file"}, "not started: no such file"),
        ({"exitCode": 137, "reason": "ContainerStatusUnknown"}, "its end was not seen"),
        ({"exitCode": 255, "reason": "Unknown"}, "its end was not seen"),
    ],
)
def test_the_message_has_no_code_that_is_made_up(end: dict[str, Any], words: str) -> None:
    status = {"name": "mesh", "restartCount": 1, "state": waits(), "lastState": {"terminated": end}}
    shown = pod(state={"waiting": {"reason": "PodInitializing"}}, initContainerStatuses=[status])
    trouble = trouble_of([shown])
    assert trouble is not None
    assert trouble.message.endswith(f"; init container mesh, {words}, restart count 1")


def waiting_in(shown: Object) -> Trouble | None:
    trouble = trouble_of([shown])
    return None if trouble is None or trouble.is_tried_again else trouble


@pytest.mark.parametrize("name", SIDECARS)
def test_the_grace_goes_on_while_it_is_tried_again_and_ends_the_job_when_that_has_failed(name: str) -> None:
    now_s = 0.0
    patience = Patience(GRACE_S, lambda: now_s)
    first, *_ = [shown for shown in life(name) if trouble_of([shown])]
    *_, last = [shown for shown in life(name) if waiting_in(shown)]
    tries = [shown for shown in life(name) if trouble_of([shown]) and not waiting_in(shown)]
    assert tries
    patience.look("g", job(), [first], lambda _: [])
    for shown in tries:
        now_s += GRACE_S
        assert patience.look("g", job(), [shown], lambda _: [])[1] is False
        assert not may_be_stuck(job(), [shown]), "nor does who ends it"
    trouble, is_over = patience.look("g", job(), [last], lambda _: [])
    assert is_over
    assert trouble is not None
    assert "restarting failed container=mesh" in trouble.message
    assert may_be_stuck(job(), [last])
    now_s += AGAIN_S
    assert patience.look("g", job(), [last], lambda _: [])[1] is True, "it was not ended: once more"


def test_a_sidecar_that_is_up_for_a_moment_lets_the_job_begin_and_is_no_trouble_of_it() -> None:
    told = life("sidecar, exit 7 after 3 s")
    assert observed(told[-1]).state is State.RUNNING
    assert not [shown for shown in told if trouble_of([shown])]
    assert {worker.container for worker in workers_of(told)} == {"plugin"}


def observed(shown: Object) -> Observed:
    found = observed_from(job(active=1), [shown])
    assert isinstance(found, Observed)
    return found


def test_what_is_begun_again_and_is_up_or_done_is_no_trouble() -> None:
    assert trouble_of([crashing({"running": {}})]) is not None
    assert trouble_of([crashing({"running": {}}, started=True)]) is None, "its probe has succeeded"
    assert trouble_of([crashing(ended(0), ready=True)]) is None, "a plain one, with rules of its own, has come through"
    assert trouble_of([crashing(ended(7), restartCount=0)]) is None, "a plain one ends the pod"
    assert trouble_of([crashing(waits()) | {"status": crashing(waits())["status"] | {"phase": "Failed"}}]) is None


def test_only_the_last_that_has_run_is_waited_for() -> None:
    """A sidecar need only have been up once for the next container to begin."""
    shown = crashing(waits())
    after = {"name": "after", "restartCount": 0, "started": False, "ready": False, "lastState": {}}
    statuses = shown["status"]["initContainerStatuses"]
    shown["status"]["initContainerStatuses"] = [
        *statuses,
        after | {"state": {"waiting": {"reason": "PodInitializing"}}},
    ]
    assert trouble_of([shown]) is not None
    shown["status"]["initContainerStatuses"] = [*statuses, after | {"state": {"running": {}}}]
    assert trouble_of([shown]) is None


def test_one_that_waits_is_told_before_one_that_is_tried_again() -> None:
    tried, waiting = crashing(ended(7)), crashing(waits("the second"))
    trouble = trouble_of([tried, waiting])
    assert trouble is not None
    assert "the second" in trouble.message
    assert may_be_stuck(job(), [tried, waiting])


@pytest.mark.parametrize("name", [*SIDECARS, "plain init container, exit 7"])
def test_the_log_is_that_of_the_container_that_failed(name: str) -> None:
    workers = [workers_of([shown]) for shown in life(name)]
    assert [worker.container for [worker] in workers] == sorted(
        (worker.container for [worker] in workers), reverse=True
    )
    assert workers[-1][0].container == "mesh", "plugin before, as long as nothing has failed"


def test_a_plain_one_ends_the_job_with_its_exit_code() -> None:
    *_, last = life("plain init container, exit 7")
    found = observed_from(job("Failed", failed=1), [last])
    assert isinstance(found, Observed)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.START_FAILED, None)
    assert found.message.endswith("the job's own was not started: mesh, exit code 7")
