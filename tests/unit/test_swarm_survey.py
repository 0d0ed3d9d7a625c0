"""What is remembered from one look at a swarm to the next: here on a swarm whose nodes go and come back."""

import copy
import json
from pathlib import Path
from typing import Any, cast

import pytest

from backends._engine.client import Client
from backends._swarm.state import observed_from
from backends._swarm.survey import BACK_S, Surveyor
from backends.swarm import SwarmBackend, SwarmSettings
from pman_core.backend import Observed
from pman_core.settings import Settings
from pman_core.states import Reason, State

STATES = json.loads((Path(__file__).parents[1] / "recorded" / "swarm" / "states.json").read_text())


class Swarm:
    """The job of a recording whose node was away, and the clock of whoever looks at it."""

    def __init__(self) -> None:
        self.shown = copy.deepcopy(STATES["node down"])
        self.task: dict[str, Any] = self.shown["tasks"][0]
        self.task["DesiredState"] = "running"  # it was away for too short a time to be called down
        self.task["Spec"]["Resources"] = {"Limits": {"MemoryBytes": 64 << 20}}
        self.node = next(node for node in self.shown["nodes"] if node["ID"] == self.task["NodeID"])
        self.node["Status"] = {"State": "unknown"}
        self.now_s = 1000.0
        self.updates = 0
        self.surveyor = Surveyor("recorded", 60.0, lambda: self.now_s)

    def tasks(self, filters: object) -> list[dict[str, Any]]:
        return [self.task]

    def services(self, filters: object) -> list[dict[str, Any]]:
        return [self.shown["service"]]

    def nodes(self) -> list[dict[str, Any]]:
        return list(self.shown["nodes"])

    def info(self) -> dict[str, Any]:
        return {"SystemTime": self.shown["now"]}

    def update_service(self, *_: object, **__: object) -> None:
        self.updates += 1

    def look(self, after_s: float = 0) -> Observed:
        self.now_s += after_s
        ((service, tasks),) = (survey := self.surveyor.take(cast(Client, self))).jobs.values()
        sighting = observed_from(service, tasks, survey.facts).sighting
        assert isinstance(sighting, Observed)
        return sighting

    def bring_back(self, at: str = "2026-11-25T02:20:15Z") -> None:
        self.node |= {"Status": {"State": "ready"}, "UpdatedAt": at}

    def kill(self) -> None:
        ended = copy.deepcopy(STATES["node down, back"]["tasks"][0])
        self.task |= {"Status": ended["Status"], "DesiredState": "shutdown"}


@pytest.fixture
def swarm() -> Swarm:
    swarm = Swarm()
    assert "does not answer" in swarm.look().message
    swarm.bring_back()
    return swarm


def test_a_job_that_is_killed_when_its_node_is_back_has_failed_by_that(swarm: Swarm) -> None:
    for _ in range(3):
        assert swarm.look(1).state is State.RUNNING
    swarm.kill()
    found = swarm.look(1)
    assert (found.reason, found.exit_code) == (Reason.NODE_FAIL, 137)
    assert found.message.startswith("killed when its node was back: node w1 does not answer")


def test_a_job_that_has_outlived_the_absence_of_its_node_ends_of_something_else(swarm: Swarm) -> None:
    """All nodes are away for a moment when another manager takes the lead, and nothing is killed by that."""
    swarm.look()
    assert swarm.look(BACK_S + 1).state is State.RUNNING
    swarm.kill()
    assert swarm.look(1).reason is Reason.OOM_KILLED


def test_who_has_not_looked_for_long_does_not_take_the_node_to_be_back_for_long(swarm: Swarm) -> None:
    swarm.look(BACK_S * 10)
    swarm.bring_back("2026-11-25T02:30:00Z")  # it was away once more in between
    assert swarm.look(BACK_S * 10).state is State.RUNNING
    swarm.kill()
    assert swarm.look(1).reason is Reason.NODE_FAIL


def test_what_swarm_has_told_a_node_to_end_does_not_outlive_its_absence(swarm: Swarm) -> None:
    swarm.task["DesiredState"] = "shutdown"
    swarm.look()
    assert swarm.look(BACK_S + 1).state is State.RUNNING
    swarm.kill()
    assert swarm.look(1).reason is Reason.NODE_FAIL


def test_a_job_that_was_killed_when_its_node_was_back_is_not_cancelled_after_that(swarm: Swarm) -> None:
    backend = SwarmBackend(Settings(container_env="swarm", storebase=Path("/")), SwarmSettings())
    backend._client, backend._surveyor = cast(Client, swarm), swarm.surveyor
    swarm.kill()
    found = swarm.look()
    backend.end(found.jid, found.generation)
    assert swarm.updates == 0
