"""What lies in the queue is repeated, out of order, of an earlier release, or garbage: jobs run once all the same."""

import json
import signal
import uuid
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
import redis

from pman_core.queues import Purpose, Task, queue_name
from testbed.system import System, wait_for
from tests.e2e.jobs import LASTING_S, has_begun, traces
from tests.faults.scene import Start, ask, bring_up, check_ends, get, pids, post, put_to_sleep, wait_status
from tests.recorded.record_messages import FOLDER, GENERATION, JID

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

SUBMIT = queue_name("process", Purpose.SUBMIT)
CONTROL = queue_name("process", Purpose.CONTROL)
PREFIX = "pman:pman:"
RECORDINGS = sorted(FOLDER.glob("*.json"), key=lambda path: path.name)


@pytest.fixture
def system(start: Start) -> System:
    return bring_up(start, workers=("worker", "worker-2"))


def take_queue(server: "redis.Redis", queue: str) -> list[str]:
    """Return what waits in a queue, oldest first, and leave it empty."""
    with server.pipeline() as both:
        messages: list[str] = both.lrange(PREFIX + queue, 0, -1).delete(PREFIX + queue).execute()[0]
    return messages[::-1]


def connect(system: System) -> "redis.Redis":
    return redis.Redis(port=system.redis_port, decode_responses=True)


def with_args(message: dict[str, Any], *args: Any, **headers: Any) -> str:
    """Return the text of a recorded message with other arguments."""
    body = [list(args), {}, json.loads(b64decode(message["body"]))[2]]
    fresh = message | {"body": b64encode(json.dumps(body).encode()).decode()}
    fresh["headers"] = message["headers"] | {"id": str(uuid.uuid4())} | headers
    return json.dumps(fresh)


def recorded(path: Path, task: Task) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(path.read_text())[task.value]
    return message


def test_messages_that_come_many_times_and_in_any_order_run_a_job_once(system: System) -> None:
    for name in ("worker", "worker-2"):
        system.kill(name)
    codes = {f"job-{number}": number % 3 for number in range(5)}
    for jid, code in codes.items():
        post(system, jid, 0.5, code)
    post(system, "deleted", LASTING_S)
    assert ask(system, "DELETE", "/api/v1/deleted/").status_code == 204
    post(system, "deleted", 0.1, 7)
    with connect(system) as server:
        submits, controls = take_queue(server, SUBMIT), take_queue(server, CONTROL)
        assert len(submits) >= 7
        # The newest first, each four times, and removals before and after what they remove.
        server.rpush(PREFIX + SUBMIT, *(submits * 4))
        server.lpush(PREFIX + CONTROL, *(controls * 3))
    for name in ("worker", "worker-2"):
        system.restart(name)
    check_ends(system, codes | {"deleted": 7})
    with connect(system) as server:
        server.lpush(PREFIX + SUBMIT, *submits)
        server.lpush(PREFIX + CONTROL, *controls)
        wait_for("all is taken", lambda: not server.exists(PREFIX + SUBMIT, PREFIX + CONTROL, PREFIX + "unacked"))
    check_ends(system, codes | {"deleted": 7})


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_messages_of_an_earlier_release_are_understood(start: Start, path: Path) -> None:
    system = bring_up(start, env={"RECONCILE_S": "60", "REQUEUE_S": "600", "LIVE_LOGS_S": "0"})
    put_to_sleep(system, "worker")
    generation = post(system, "job", LASTING_S, 4)["generation"]
    with connect(system) as server:
        assert len(take_queue(server, SUBMIT)) == 1, "the recorded one is to be the only one"
        server.lpush(PREFIX + SUBMIT, with_args(recorded(path, Task.SUBMIT), "job", generation))
        system.signal("worker", signal.SIGCONT)
        wait_status(system, "job", "started")
        wait_for("its own first word is there", lambda: has_begun(system, "job"))
        server.lpush(PREFIX + SUBMIT, with_args(recorded(path, Task.REFRESH), "job", generation))
        wait_for("the log is refreshed", lambda: get(system, "job")["logs"] == "working\n")
        # Its record is gone, its process is to be ended by the recorded message alone: the observer sleeps.
        system.signal("observer", signal.SIGSTOP)
        assert system.connect_store().delete("job").obligation is not None
        store, removal = system.connect_store(), with_args(recorded(path, Task.DELETE), "job", generation)

        def is_removed() -> bool:
            # A process that takes its time to end is not gone at the first try, and who would try again sleeps.
            if not server.exists(PREFIX + CONTROL, PREFIX + "unacked"):
                server.lpush(PREFIX + CONTROL, removal)
            return store.counts("process")["obligations"] == 0

        wait_for("nothing is owed", is_removed)
    assert (traces(system, "job"), traces(system, "job", "ends")) == (1, 0)


def garbage(generation: str) -> list[str]:
    """Everything that may lie in a queue of pman and is no message of pman."""
    good = recorded(RECORDINGS[-1], Task.SUBMIT)
    without_args = good | {"body": b64encode(b"[[], {}, {}]").decode()}
    return [
        "garbage",
        "",
        "{}",
        "[]",
        "null",
        "17",
        '{"body": 3}',
        json.dumps(good | {"body": "%%%"}),
        json.dumps(good | {"body": b64encode(b"{").decode()}),
        json.dumps(good | {"body": b64encode(b'"text"').decode()}),
        json.dumps(good | {"headers": {}}),
        json.dumps(good | {"headers": None}),
        json.dumps(good | {"properties": {}}),
        json.dumps({name: value for name, value in good.items() if name != "properties"}),
        json.dumps(good | {"content-type": "application/x-python-serialize"}),
        json.dumps(good | {"content-encoding": "no-such-code"}),
        json.dumps(without_args),
        with_args(good, "job"),
        with_args(good, "job", generation, "more"),
        with_args(good, None, None),
        with_args(good, {"a": 1}, [2]),
        with_args(good, "job", "01m00000000000000000000000"),
        with_args(good, "no-such-job", GENERATION),
        with_args(good, JID * 10_000, GENERATION),
        with_args(good, "job", generation, task="pman.no-such-task"),
        with_args(good, "job", generation, task=None),
        with_args(good, "job", generation, eta="never"),
        with_args(good, "job", generation, expires="2001-01-01T00:00:00+00:00"),
        "\x00\xff" * 100,
        "{" * 100_000,
    ]


def test_garbage_in_the_queue_stops_no_worker_and_loses_no_job(start: Start) -> None:
    system = bring_up(start)
    before = pids(system)
    put_to_sleep(system, "worker")
    generation = post(system, "job", 0.2, 3)["generation"]
    with connect(system) as server:
        assert take_queue(server, SUBMIT)  # the job's own message is lost
        for queue in (SUBMIT, CONTROL):
            server.lpush(PREFIX + queue, *garbage(generation))
        system.signal("worker", signal.SIGCONT)
        wait_for("all of it is taken", lambda: not server.exists(PREFIX + SUBMIT, PREFIX + CONTROL))
        check_ends(system, {"job": 3})
        post(system, "after", 0.1, 5)
        check_ends(system, {"after": 5})
        wait_for("none of it is kept", lambda: not server.exists(PREFIX + "unacked"))
    assert pids(system) == before
