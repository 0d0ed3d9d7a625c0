"""What a service and its tasks mean, on those of a real swarm (``tests/recorded/record_swarm.py``)."""

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends._engine.state import moment
from backends._swarm.endings import ENDED, FINAL, Ending, ending_label, ending_of, final_label
from backends._swarm.nodes import Nodes, nodes_by_id
from backends._swarm.replica import Facts
from backends._swarm.state import Looked, observed_from
from backends._swarm.task import is_puzzling
from pman_core.backend import Observed, Unknown
from pman_core.states import Reason, State

STATES = json.loads((Path(__file__).parents[1] / "recorded" / "swarm" / "states.json").read_text())
WAITING = (State.PENDING, None, None)
RUNS = (State.RUNNING, None, None)
NODE_FAIL = (State.FAILED, Reason.NODE_FAIL, None)
CANCELLED = (State.CANCELLED, Reason.CANCELLED, None)
MEANINGS: dict[str, tuple[State, Reason | None, int | None]] = {
    "running": RUNS,
    "complete": (State.SUCCEEDED, None, 0),
    "exit 7": (State.FAILED, Reason.NONZERO_EXIT, 7),
    "signal 15": (State.FAILED, Reason.SIGNALLED, 143),
    "killed": (State.FAILED, Reason.SIGNALLED, 137),
    "out of memory": (State.FAILED, Reason.OOM_KILLED, 137),
    "no such image": (State.FAILED, Reason.IMAGE_PULL, None),
    "no such command": (State.FAILED, Reason.START_FAILED, None),
    "no such user": (State.FAILED, Reason.START_FAILED, None),
    "mount missing": (State.FAILED, Reason.REJECTED, None),
    "too many cpus": (State.FAILED, Reason.REJECTED, None),
    "no node": WAITING,
    "no resources": WAITING,
    "no gpu": WAITING,
    "three complete": (State.SUCCEEDED, None, 0),
    "one fails, two run": RUNS,
    "ended while running": (State.CANCELLED, Reason.CANCELLED, 137),
    "ended at once": CANCELLED,
    "ended while pending": CANCELLED,
    "scaled to 0": RUNS,
    "scaled to 0, gone": CANCELLED,
    "node drained": (State.FAILED, Reason.NODE_FAIL, 137),
    "node cut off": RUNS,
    "node cut off, back": (State.FAILED, Reason.NODE_FAIL, 137),
    "node cut off, back, ended by itself": (State.FAILED, Reason.NONZERO_EXIT, 4),
    "node down": RUNS,
    "node down, back": (State.FAILED, Reason.SIGNALLED, 137),
    "node removed": NODE_FAIL,
}


def look(name: str, *, away_s: float = 0, oom: dict[str, bool] | None = None, **labels: Any) -> Looked:
    """Read a recorded service, the nodes so long after the recording; ``labels`` are of ours, by their last word."""
    shown = copy.deepcopy(STATES[name])
    for label in (ENDED, FINAL):
        if (word := label.rsplit(".", 1)[1]) in labels:
            shown["service"]["Spec"]["Labels"][label] = json.dumps(labels[word])
    now = moment(shown["now"]) if "now" in shown else None
    nodes = Nodes(nodes_by_id(shown.get("nodes", ())), now and now + timedelta(seconds=away_s), grace_s=60)
    return observed_from(shown["service"], shown["tasks"], Facts(nodes, oom or {}))


def observed(name: str, **more: Any) -> Observed:
    sighting = look(name, **more).sighting
    assert isinstance(sighting, Observed)
    return sighting


def test_nothing_recorded_is_left_out() -> None:
    assert STATES.keys() == MEANINGS.keys() | {"two fail"}


@pytest.mark.parametrize("name", MEANINGS)
def test_every_recorded_state_has_its_meaning(name: str) -> None:
    found = observed(name)
    assert (found.state, found.reason, found.exit_code) == MEANINGS[name]
    assert (found.jid, found.digest) == ("job", "d" * 64)
    assert found.handle.data == {"id": STATES[name]["service"]["ID"]}
    if found.state in {State.FAILED, State.CANCELLED}:
        assert found.message, "a failure has its cause in the message"
        assert found.finished_at is not None
    if found.started_at and found.finished_at:
        assert found.started_at <= found.finished_at


@pytest.mark.parametrize("native", ["new", "allocated", "assigned", "accepted", "preparing", "ready", "starting"])
def test_what_is_on_its_way_is_pending(native: str) -> None:
    assert observed_as(native, "running").state is State.PENDING


@pytest.mark.parametrize("native", ["new", "allocated", "pending"])
def test_what_is_told_to_end_before_it_had_a_node_is_cancelled(native: str) -> None:
    assert observed_as(native, "shutdown").state is State.CANCELLED


@pytest.mark.parametrize("desired", ["running", "shutdown", "remove"])
def test_what_runs_runs_whatever_is_desired(desired: str) -> None:
    assert observed_as("running", desired).state is State.RUNNING


@pytest.mark.parametrize(
    ("native", "state", "reason"),
    [
        ("complete", State.SUCCEEDED, None),
        ("rejected", State.FAILED, Reason.REJECTED),
        ("shutdown", State.FAILED, Reason.NODE_FAIL),
        ("orphaned", State.FAILED, Reason.NODE_FAIL),
        ("remove", State.CANCELLED, Reason.CANCELLED),
    ],
)
def test_every_other_state_is_an_end(native: str, state: State, reason: Reason | None) -> None:
    found = observed_as(native, "shutdown")
    assert (found.state, found.reason, found.native_state) == (state, reason, native)


def observed_as(native: str, desired: str, error: str = "") -> Observed:
    sighting = looked_as(native, desired, error).sighting
    assert isinstance(sighting, Observed)
    return sighting


def looked_as(native: str, desired: str, error: str = "") -> Looked:
    shown = copy.deepcopy(STATES["running"])
    shown["tasks"][0] |= {"DesiredState": desired}
    shown["tasks"][0]["Status"] |= {"State": native, "Err": error}
    return observed_from(shown["service"], shown["tasks"], Facts())


def shut_down(code: int, desired: str = "shutdown", *, was_away: bool = True, **labels: Any) -> Observed:
    """Return what is told of a task that Swarm has ended, whose container has this exit code."""
    shown = copy.deepcopy(STATES["node cut off, back"])
    task = shown["tasks"][0]
    task["DesiredState"] = desired
    task["Status"]["ContainerStatus"] |= {"ExitCode": code}
    shown["service"]["Spec"]["Labels"] |= {label: json.dumps(value) for label, value in labels.items()}
    away = {task["ID"]: "node w1 does not answer"} if was_away else {}
    sighting = observed_from(shown["service"], shown["tasks"][:1], Facts(been_away=away)).sighting
    assert isinstance(sighting, Observed)
    assert sighting.native_state == "shutdown"
    return sighting


@pytest.mark.parametrize("was_away", [True, False])
def test_what_ended_by_itself_before_swarm_ended_it_keeps_its_end(was_away: bool) -> None:
    """So it is told mostly, if a job ends while the engine of its node is frozen."""
    found = shut_down(4, was_away=was_away)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 4)
    assert found.message == "exit code 4"
    killed = shut_down(137, was_away=was_away)
    assert (killed.state, killed.reason, killed.exit_code) == (State.FAILED, Reason.NODE_FAIL, 137)
    assert "by itself" not in killed.message


@pytest.mark.parametrize("code", [0, -1])
@pytest.mark.parametrize("was_away", [True, False])
def test_an_exit_code_that_nobody_has_seen_is_not_told(code: int, was_away: bool) -> None:
    """It is 0 of what has not begun, too, so it is no success; and not told as a kill for sure."""
    found = shut_down(code, was_away=was_away)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)
    assert found.message.endswith("; it may have ended by itself before, with exit code 0")


def test_an_exit_code_that_an_engine_makes_up_is_told_as_such() -> None:
    shown = copy.deepcopy(STATES["exit 7"])
    shown["tasks"][0]["Status"] |= {"Err": "task: non-zero exit (255)"}
    sighting = observed_from(shown["service"], shown["tasks"], Facts()).sighting
    assert isinstance(sighting, Observed)
    assert (sighting.reason, sighting.exit_code) == (Reason.NONZERO_EXIT, 255)
    assert sighting.message == "exit code 255, or the engine has not seen its end, as when its machine was restarted"


def test_what_an_administrator_scales_away_is_told_so_from_the_first_moment() -> None:
    """Swarm shows it as shut down before it takes it away."""
    found = shut_down(137, "remove", was_away=False)
    assert (found.state, found.reason, found.exit_code) == (State.CANCELLED, Reason.CANCELLED, 137)
    assert found.message == "withdrawn by an administrator"


def test_what_an_administrator_has_run_again_is_not_told_to_be_of_a_drained_node() -> None:
    shown = copy.deepcopy(STATES["node drained"])
    again = copy.deepcopy(STATES["running"]["tasks"][0]) | {"CreatedAt": "2099-01-01T00:00:00Z"}
    sighting = observed_from(shown["service"], [again, *shown["tasks"]], Facts()).sighting
    assert isinstance(sighting, Observed)
    assert (sighting.state, sighting.exit_code) == (State.CANCELLED, 137)
    assert sighting.message == "ended by an administrator, who has changed its service: it is run again"


def test_an_unknown_state_is_told_as_unknown() -> None:
    assert isinstance(looked_as("frozen", "running").sighting, Unknown)


def test_a_container_that_its_engine_has_lost_is_a_failure_of_the_node() -> None:
    found = observed_as("failed", "shutdown", "No such container: pman-x.1.y")
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NODE_FAIL, None)


def test_one_that_waits_says_why_and_what_it_asks_for() -> None:
    assert observed("no node").message == "no suitable node (scheduling constraints not satisfied on 3 nodes)"
    message = observed("no resources").message
    assert "insufficient resources" in message
    assert "1e+06 CPUs, 1073741824 MiB on one node" in message
    assert "2 gpu on one node" in observed("no gpu").message


def test_a_missing_folder_says_what_to_look_at() -> None:
    assert "STOREBASE" in observed("mount missing").message


def test_out_of_memory_is_told_for_sure_by_the_engine_alone() -> None:
    task = STATES["out of memory"]["tasks"][0]
    container = task["Status"]["ContainerStatus"]["ContainerID"]
    assert is_puzzling(task)
    assert not is_puzzling(STATES["killed"]["tasks"][0]), "without a limit it is out of the question"
    assert observed("out of memory").message == "out of memory, the limit was 64 MiB, as far as Swarm lets one tell"
    assert observed("out of memory", oom={container: True}).message == "out of memory, the limit was 64 MiB"
    assert observed("out of memory", oom={container: False}).reason is Reason.SIGNALLED


@pytest.mark.parametrize("is_oom", [True, False])
def test_what_the_engine_alone_has_told_of_a_kill_is_kept_for_who_cannot_ask_it(is_oom: bool) -> None:
    """Another manager cannot, and nobody can when its container has been pruned."""
    container = STATES["out of memory"]["tasks"][0]["Status"]["ContainerStatus"]["ContainerID"]
    known = look("out of memory", oom={container: is_oom})
    assert (known.must_be_kept, known.may_live) == (True, False)
    assert isinstance(known.sighting, Observed)
    assert look("out of memory", final=final_label(known.sighting)).sighting == known.sighting
    assert not look("out of memory").must_be_kept


# Several replicas


def test_the_first_that_failed_is_told_of_all() -> None:
    failed = [task for task in STATES["two fail"]["tasks"] if task["Status"]["State"] == "failed"]
    first = min(failed, key=lambda task: moment(task["Status"]["Timestamp"]) or datetime.max.replace(tzinfo=UTC))
    found = observed("two fail")
    assert (found.state, found.exit_code, first["Slot"]) == (State.FAILED, first["Slot"], found.exit_code)
    assert found.message == f"worker {first['Slot']} of 3: exit code {first['Slot']}"
    assert found.native_state == "1 complete, 2 failed" or "2 failed" in found.native_state


def test_others_go_on_and_the_message_tells_of_the_failure() -> None:
    found = observed("one fails, two run")
    assert found.message == "worker 1 of 3: exit code 9"
    assert found.finished_at is None


def test_a_replica_that_still_waits_keeps_the_job_running() -> None:
    shown = copy.deepcopy(STATES["three complete"])
    shown["tasks"][0]["Status"]["State"] = "pending"
    shown["tasks"][0]["DesiredState"] = "running"
    sighting = observed_from(shown["service"], shown["tasks"], Facts()).sighting
    assert isinstance(sighting, Observed)
    assert sighting.state is State.RUNNING


@pytest.mark.parametrize("missing", [1, 3])
def test_a_replica_that_swarm_has_not_made_yet_waits(missing: int) -> None:
    shown = STATES["three complete"]
    sighting = observed_from(shown["service"], shown["tasks"][missing:], Facts()).sighting
    assert isinstance(sighting, Observed)
    assert sighting.state is (State.PENDING if missing == 3 else State.RUNNING)


def test_a_task_that_somebody_started_again_does_not_change_the_end() -> None:
    shown = copy.deepcopy(STATES["exit 7"])
    again = copy.deepcopy(shown["tasks"][0])
    again["CreatedAt"] = again["Status"]["Timestamp"] = "2099-01-01T00:00:00Z"
    again["Status"]["State"] = "running"
    assert observed_from(shown["service"], [again, *shown["tasks"]], Facts()).sighting == observed("exit 7")


# What we have done


def test_an_ending_survives_its_label() -> None:
    ending = Ending(Reason.TIME_LIMIT, "ended at its time limit of 5 min", datetime(2026, 1, 2, tzinfo=UTC))
    assert ending_of({ENDED: json.dumps(ending_label(ending))}) == ending


def test_a_job_past_its_time_limit_says_so() -> None:
    ending = Ending(Reason.TIME_LIMIT, "ended at its time limit of 5 min", datetime(2026, 1, 2, tzinfo=UTC))
    found = observed("ended while running", ended=ending_label(ending))
    assert (found.state, found.reason, found.message) == (State.FAILED, Reason.TIME_LIMIT, ending.message)


@pytest.mark.parametrize("name", ["complete", "exit 7", "no such image", "no such command"])
def test_a_job_that_had_ended_keeps_its_end(name: str) -> None:
    ending = ending_label(Ending(Reason.CANCELLED, "ended on request", datetime(2026, 1, 2, tzinfo=UTC)))
    assert observed(name, ended=ending) == observed(name)


def test_one_that_never_began_has_no_begin() -> None:
    found = observed("ended while pending")
    assert found.started_at is None
    assert found.finished_at is not None


# Nodes


@pytest.mark.parametrize("name", ["node down", "node cut off"])
def test_a_node_that_does_not_answer_is_given_up_after_its_grace(name: str) -> None:
    early, late = look(name, away_s=50), look(name, away_s=70)
    assert isinstance(early.sighting, Observed)
    assert isinstance(late.sighting, Observed)
    assert (early.sighting.state, early.must_be_kept) == (State.RUNNING, False)
    assert early.sighting.message.startswith("node w1 does not answer since 20")
    assert (late.sighting.state, late.sighting.reason, late.must_be_kept) == (State.FAILED, Reason.NODE_FAIL, True)
    assert late.sighting.finished_at is not None


def test_what_was_given_up_stays_so_whatever_the_node_tells_later() -> None:
    given_up = look("node down", away_s=70).sighting
    assert isinstance(given_up, Observed)
    label = final_label(given_up)
    service = STATES["node down"]["service"]["ID"]
    for name in ("complete", "node down, back", "running"):
        found = observed(name, final=json.loads(json.dumps(label)))
        assert found.handle.data != {"id": service} or name == "node down, back"
        assert (found.state, found.reason, found.message) == (given_up.state, given_up.reason, given_up.message)
        assert (found.started_at, found.finished_at) == (given_up.started_at, given_up.finished_at)


def test_a_job_that_we_ended_on_a_lost_node_is_cancelled() -> None:
    ending = Ending(Reason.CANCELLED, "ended on request", datetime(2026, 1, 2, tzinfo=UTC))
    looked = look("node down", away_s=70, ended=ending_label(ending))
    assert isinstance(looked.sighting, Observed)
    assert (looked.sighting.state, looked.must_be_kept) == (State.CANCELLED, True)
    assert "node w1 does not answer" in looked.sighting.message


def test_one_that_its_engine_killed_when_it_came_back_did_not_run_out_of_memory() -> None:
    shown = copy.deepcopy(STATES["node down, back"])
    shown["tasks"][0]["Spec"]["Resources"] = {"Limits": {"MemoryBytes": 64 << 20}}
    away = {shown["tasks"][0]["ID"]: "node w1 does not answer"}
    looked = observed_from(shown["service"], shown["tasks"], Facts(been_away=away))
    assert isinstance(looked.sighting, Observed)
    assert (looked.sighting.reason, looked.sighting.exit_code) == (Reason.NODE_FAIL, 137)
    assert "node w1 does not answer" in looked.sighting.message
    assert looked.must_be_kept, "others have not seen the node away"


def test_a_node_that_is_not_listed_was_removed() -> None:
    away = Nodes({}).away("x")
    assert away is not None
    assert away.is_lost
    assert str(away) == "node x was removed from the swarm"


def test_gpus_are_what_a_node_says_of_itself() -> None:
    named = {"NamedResourceSpec": {"Kind": "NVIDIA-GPU", "Value": "GPU-1"}}
    counted = {"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}}
    nodes = Nodes({"a": {"Description": {"Resources": {"GenericResources": [named, counted]}}}, "b": {}})
    assert nodes.have_gpus("gpu")
    assert nodes.have_gpus("NVIDIA-GPU")
    assert not nodes.have_gpus("fpga")
