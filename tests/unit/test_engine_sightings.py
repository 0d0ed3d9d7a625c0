"""What is remembered of containers, so that a listing and the events together ask the engine for each of them once."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backends._engine.errors import NotThere
from backends._engine.labels import SPEC, overdue_message
from backends._engine.sightings import Sightings
from backends._engine.state import Container, observed_from
from pman_core.backend import Observed, Sighting, Unknown
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.request import parse_request
from pman_core.settings import Settings
from pman_core.states import State

STATES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "docker" / "states.json").read_text()
)


class Engine:
    """One container, as the engine shows it; it counts the inspections."""

    def __init__(self, name: str) -> None:
        self.container = STATES[name]
        self.error: Exception | None = None
        self.inspections = 0
        self.sightings = Sightings(self._inspect, observed_from)

    def _inspect(self, container_id: str) -> Container:
        assert container_id == self.container["Id"]
        self.inspections += 1
        if self.error:
            raise self.error
        return self.container

    def look(self) -> Sighting:
        """List it."""
        state, labels = self.container["State"]["Status"], self.container["Config"]["Labels"]
        return self.sightings.of_listed({"Id": self.container["Id"], "State": state, "Labels": labels})

    def hear(self, action: str, **attributes: str) -> Observed | None:
        """Hear an event of it."""
        actor = {"ID": self.container["Id"], "Attributes": self.container["Config"]["Labels"] | attributes}
        return self.sightings.of_event({"Action": action, "Actor": actor, "timeNano": 1_000_000_000_000})


def test_an_end_is_asked_for_once_however_often_it_is_listed_and_heard() -> None:
    engine = Engine("exit 7")
    ended = engine.look()
    assert isinstance(ended, Observed)
    assert (ended.state, ended.exit_code) == (State.FAILED, 7)
    assert [engine.look(), engine.hear("die", exitCode="7"), engine.look()] == [ended] * 3
    assert engine.inspections == 1


def test_who_was_heard_to_start_and_to_succeed_is_not_asked_for() -> None:
    engine = Engine("running")
    started = engine.hear("start")
    assert started is not None
    assert engine.look() == started
    ended = engine.hear("die", exitCode="0")
    assert ended is not None
    assert (ended.state, ended.started_at) == (State.SUCCEEDED, datetime.fromtimestamp(1000, UTC))
    assert engine.look() == ended
    assert engine.inspections == 0


def test_who_runs_and_was_not_heard_to_start_is_asked_for_once() -> None:
    engine = Engine("running")
    first = engine.look()
    assert isinstance(first, Observed)
    assert first.started_at is not None
    assert engine.look() == first
    assert engine.inspections == 1


def test_who_has_left_the_engine_is_forgotten_and_nobody_else() -> None:
    engine = Engine("exit 7")
    engine.look()
    engine.sightings.forget_all_but({engine.container["Id"]})
    engine.look()
    assert engine.inspections == 1
    engine.sightings.forget_all_but(set())
    engine.look()
    assert engine.inspections == 2


@pytest.mark.parametrize("error", [NotThere("gone"), KeyError("State")])
def test_who_cannot_be_read_is_unknown_and_asked_for_again(error: Exception) -> None:
    engine = Engine("exit 7")
    engine.error = error
    assert isinstance(engine.look(), Unknown)
    engine.error = None
    assert isinstance(engine.look(), Observed)


def test_an_engine_that_does_not_answer_is_no_answer() -> None:
    engine = Engine("exit 7")
    engine.error = Unavailable("it hangs")
    with pytest.raises(Unavailable):
        engine.look()
    with pytest.raises(Unavailable):
        engine.hear("die", exitCode="7")


def test_who_is_gone_when_its_end_is_heard_has_the_end_of_the_event() -> None:
    engine = Engine("exit 7")
    engine.error = NotThere("gone")
    told = engine.hear("die", exitCode="3")
    assert told is not None
    assert (told.state, told.exit_code) == (State.FAILED, 3)


@pytest.mark.parametrize(
    ("wish", "told"),
    [({"time_limit": 7}, "ended at its time limit of 7 min"), ({}, "ended at its time limit of 2 min")],
)
def test_an_overdue_job_is_told_the_limit_that_it_had(wish: dict[str, int], told: str) -> None:
    common = Settings(
        container_env="docker",
        storebase=Path("/data"),
        timelimit_minutes=2,
        timelimit_max_minutes=60,
        redis_url="redis://r",
    )
    body = {
        "jid": "j", "args": [], "auid": "a", "number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 200,
        "gpu_limit": 0, "image": "i", "entrypoint": ["true"], "type": "fs", "input_dir": "in", "output_dir": "out",
    }  # fmt: skip
    spec = JobSpec("01h", "pman", parse_request(body | wish))
    assert overdue_message({SPEC: spec.to_json()}, common) == told
    assert overdue_message({SPEC: "damaged"}, common) == "ended at its time limit"
