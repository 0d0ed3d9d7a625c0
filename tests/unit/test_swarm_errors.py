"""What a swarm's refusals mean, on replies that a real one has given (``tests/recorded/record_swarm.py``)."""

import json
import struct
from pathlib import Path

import pytest

from backends._engine.errors import Doing, NameTaken, NotThere, OutOfDate, explain
from backends._engine.logs import frames
from pman_core.errors import BackendError, Rejected, Unavailable

ERRORS = json.loads((Path(__file__).parents[1] / "recorded" / "swarm" / "errors.json").read_text())
MEANINGS: dict[str, type[BackendError]] = {
    "name taken": NameTaken,
    "out of date": OutOfDate,
    "removed, update": NotThere,
    "removed, inspect": NotThere,
    "removed, remove": NotThere,
    "bad image name": Rejected,
    "bad template": Rejected,
    "little memory": Rejected,
    "too large": Rejected,
    "not a manager": Unavailable,
}


@pytest.mark.parametrize("name", [name for name in ERRORS if not name.endswith(", log")])
def test_every_recorded_refusal_has_its_meaning(name: str) -> None:
    error = ERRORS[name]
    found = explain(Doing(error["doing"]), error["status"], error["text"])
    assert type(found) is MEANINGS[name], found
    assert error["text"][:40] in str(found), "people are told the engine's own words"


def test_no_leader_passes() -> None:
    text = (
        "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are up."
    )
    assert type(explain(Doing.CREATE, 500, text)) is Unavailable


def test_a_log_that_the_engine_could_not_read_is_not_taken_for_a_log() -> None:
    text = ERRORS["node down, log"]["text"].partition("Error")[1:]
    payload = "".join(text).encode()
    stream = [struct.pack(">BxxxL", 1, 2) + b"a\n" + struct.pack(">BxxxL", 3, len(payload)) + payload]
    read = frames(stream)
    assert next(read) == b"a\n"
    with pytest.raises(Unavailable, match="is not available"):
        next(read)
