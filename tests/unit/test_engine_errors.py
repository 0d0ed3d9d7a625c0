"""What the engines' refusals mean, on replies that real engines have given (``tests/recorded/record_engine.py``)."""

import json
from pathlib import Path

import pytest

from backends._engine.errors import Doing, NameTaken, NotThere, explain
from pman_core.errors import BackendError, ImageMissing, Rejected, Unavailable, Unparseable
from pman_core.states import Reason

RECORDED = Path(__file__).parents[1] / "recorded"
MEANINGS: dict[str, tuple[type[BackendError], Reason | None]] = {
    "name taken": (NameTaken, None),
    "image absent": (ImageMissing, None),
    "image name": (Rejected, Reason.REJECTED),
    "cpus": (Rejected, Reason.REJECTED),
    "little memory": (Rejected, Reason.REJECTED),
    "source missing": (Rejected, Reason.REJECTED),
    "no such network": (Rejected, Reason.REJECTED),
    "create: cdi gpu": (Rejected, Reason.REJECTED),
    "inspect, not there": (NotThere, None),
    "kill, not there": (NotThere, None),
    "kill, ended": (NotThere, None),
    "kill, not running": (NotThere, None),
    "remove, not there": (NotThere, None),
    "start, not there": (NotThere, None),
    "start: a folder": (Rejected, Reason.START_FAILED),
    "start: not executable": (Rejected, Reason.START_FAILED),
    "start: no such command": (Rejected, Reason.START_FAILED),
    "start: no such user": (Rejected, Reason.START_FAILED),
    "start: little memory": (Rejected, Reason.START_FAILED),
    "start: gpu": (Rejected, Reason.REJECTED),
    "start: cdi gpu": (Rejected, Reason.REJECTED),
    "start: no such network": (Unparseable, None),
    "pull: no access": (Rejected, Reason.IMAGE_PULL),
    "pull: no such image": (Rejected, Reason.IMAGE_PULL),
    "pull: no such tag": (Rejected, Reason.IMAGE_PULL),
    "pull: no such host": (Unavailable, None),
    "pull: nobody listens": (Unavailable, None),
}


def recorded() -> list[tuple[str, str, dict[str, object]]]:
    return [
        (engine, name, error)
        for engine in ("docker", "podman")
        for name, error in json.loads((RECORDED / engine / "errors.json").read_text()).items()
        if error["text"] is not None
    ]


@pytest.mark.parametrize(("engine", "name", "error"), recorded(), ids=str)
def test_every_recorded_refusal_has_its_meaning(engine: str, name: str, error: dict[str, object]) -> None:
    doing, text = Doing(error["doing"]), str(error["text"])
    # Podman's stream begins with 200 before it fails; a pull asks with 500 then.
    status = 500 if error["status"] == 200 else int(str(error["status"]))
    found = explain(doing, status, text, "the-image")
    kind, reason = MEANINGS[name]
    assert type(found) is kind, found
    assert not isinstance(found, Rejected) or found.reason is reason
    if isinstance(found, ImageMissing):
        assert found.image == "the-image"
    else:
        assert text[:40] in str(found), "people are told the engine's own words"


@pytest.mark.parametrize(
    ("doing", "status", "text", "kind"),
    [
        (Doing.CREATE, 500, "write /var/lib/docker/x: no space left on device", Unavailable),
        (Doing.CREATE, 500, "fill out specgen: c/in d: invalid mount option", Rejected),
        (Doing.START, 500, "failed to create task: context deadline exceeded: unknown", Unavailable),
        (Doing.START, 500, "fork/exec /usr/bin/runc: resource temporarily unavailable", Unavailable),
        (Doing.ASK, 503, "", Unavailable),
        # Said by Docker with its data on 40 MB of tmpfs.
        (
            Doing.PULL,
            500,
            "failed to register layer: Error processing tar file(exit status 1): write /big/layer1: "
            "no space left on device",
            Rejected,
        ),
        (Doing.PULL, 500, "toomanyrequests: You have reached your pull rate limit", Unavailable),
        (Doing.PULL, 500, "received unexpected HTTP status: 503 Service Unavailable", Unavailable),
        (Doing.PULL, 500, "received unexpected HTTP status: 429 Too Many Requests", Unavailable),
        (Doing.PULL, 500, 'Get "http://127.0.0.1:5000/v2/": EOF', Unavailable),
        (Doing.PULL, 404, "manifest for the-image not found: manifest unknown", Rejected),
        (Doing.END, 409, "removal of container abc is already in progress", NotThere),
        (Doing.ASK, 500, "runtime error: index out of range", Unparseable),
        (Doing.CREATE, 403, "authorization denied by plugin", Rejected),
        (Doing.ASK, 403, "authorization denied by plugin", Unavailable),
    ],
)
def test_what_was_not_recorded(doing: Doing, status: int, text: str, kind: type[BackendError]) -> None:
    assert type(explain(doing, status, text)) is kind


def test_the_name_of_an_image_means_nothing() -> None:
    name = "127.0.0.1:5000/toomanyrequests/no-such-host:1"
    found = explain(Doing.PULL, 404, f"manifest for {name} not found: manifest unknown", name)
    assert type(found) is Rejected
    assert name in str(found)


@pytest.mark.parametrize("quoted", ["connection refused", 'a \\" no space left on device \\" b'])
def test_what_the_user_wrote_is_no_cause(quoted: str) -> None:
    found = explain(
        Doing.START, 400, f'OCI runtime create failed: exec: "{quoted}": executable file not found in $PATH'
    )
    assert isinstance(found, Rejected)
    assert found.reason is Reason.START_FAILED


def test_a_removal_under_way_is_not_yet_gone() -> None:
    going = explain(Doing.END, 409, "removal of container abc is already in progress")
    gone = explain(Doing.END, 404, "No such container: abc")
    assert isinstance(going, NotThere)
    assert isinstance(gone, NotThere)
    assert (going.is_busy, gone.is_busy) == (True, False)


def test_a_message_is_one_line_of_bounded_length() -> None:
    found = explain(Doing.CREATE, 400, "first\n\tsecond " + "x" * 5000)
    assert str(found).startswith("first second x")
    assert len(str(found)) <= 600
