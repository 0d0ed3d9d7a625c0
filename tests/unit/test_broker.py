"""Every setting of the queue that matters is read back from the app, and a broker that is away hangs nobody."""

import json
import socket
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from fakeredis import FakeStrictRedis

from pman_core.broker import VISIBILITY_TIMEOUT_S, QueuePublisher, make_celery
from pman_core.errors import StoreUnavailable
from pman_core.queues import PURPOSE, Purpose, Task, key_prefix, queue_name, worker_queues
from pman_core.settings import Settings
from pman_core.store.policy import Policy
from pman_core.store.redis import RedisStore


def settings(url: str = "redis://127.0.0.1:6379/0", **fields: Any) -> Settings:
    return Settings(container_env="mock", storebase=Path("/store"), pman_hostname="node-1", redis_url=url, **fields)


def app_of(url: str = "redis://127.0.0.1:6379/0", *, consumes: bool = False, **fields: Any) -> Celery:
    return make_celery(settings(url, **fields), consumes=consumes)


# The settings

EXPECTED = {
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "broker_pool_acquire_timeout": 1.0,
    "broker_connection_timeout": 1.0,
    "result_backend": None,  # the store is the truth
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_publish_retry": False,
    "worker_send_task_events": True,  # for Flower
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_soft_shutdown_timeout": 10.0,
    "enable_utc": True,
}
TRANSPORT = {
    "global_keyprefix": "pman:site-1:",
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 30,  # kombu's own 300 s hold back the messages of all dead workers when one dies at it
    "socket_connect_timeout": 1.0,
    "socket_keepalive": True,
    "priority_steps": [0],  # one Redis list a queue
}


@pytest.mark.parametrize("consumes", [True, False])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_setting_of_the_app_is_what_the_design_says(name: str, consumes: bool) -> None:
    assert getattr(app_of(consumes=consumes).conf, name) == EXPECTED[name]


@pytest.mark.parametrize("consumes", [True, False])
@pytest.mark.parametrize("name", TRANSPORT)
def test_an_option_of_the_transport_is_what_the_design_says(name: str, consumes: bool) -> None:
    app = app_of(consumes=consumes, pman_instance="site-1")
    assert app.conf.broker_transport_options[name] == TRANSPORT[name]


def test_every_setting_is_one_that_celery_knows() -> None:
    """A misspelled one would be taken without a word."""
    app = app_of()
    configured = set(app.conf.changes)
    assert configured
    assert configured <= set(Celery("fresh", set_as_current=False).conf)


def test_who_only_enqueues_gives_up_sooner_than_who_waits_for_messages() -> None:
    enqueuing, consuming = (app_of(consumes=c).conf.broker_transport_options["socket_timeout"] for c in (False, True))
    assert enqueuing == 1.0
    assert consuming > enqueuing


def test_a_message_comes_back_later_than_any_task_may_take() -> None:
    assert settings().submit_lease_s < VISIBILITY_TIMEOUT_S <= 300


def test_the_queues_are_those_of_the_backend_and_the_host_the_most_urgent_first() -> None:
    names = [queue.name for queue in app_of().conf.task_queues]
    assert names == [
        "pman.mock.control.node-1", "pman.mock.refresh.node-1", "pman.mock.control", "pman.mock.submit",
        "pman.mock.refresh",
    ]  # fmt: skip
    assert names == worker_queues("mock", "node-1")


def test_the_app_is_nobody_s_default() -> None:
    from celery import current_app  # noqa: PLC0415 - a proxy for whatever is the default now

    app_of()
    assert current_app.main != "pman"


def test_sentinels_are_told_the_name_of_their_master() -> None:
    app = app_of("sentinel://a:26379;sentinel://b:26379", redis_sentinel_master="site")
    assert app.conf.broker_transport_options["master_name"] == "site"
    assert "master_name" not in app_of().conf.broker_transport_options


# The names


def test_every_task_has_its_purpose_and_deletes_their_own_queue() -> None:
    assert set(PURPOSE) == set(Task)
    assert PURPOSE[Task.DELETE] is Purpose.CONTROL
    assert len(set(PURPOSE.values())) == len(Task)


def test_names_of_queues_and_keys() -> None:
    assert queue_name("slurm", Purpose.SUBMIT) == "pman.slurm.submit"
    assert queue_name("process", Purpose.CONTROL, "node-1") == "pman.process.control.node-1"
    assert key_prefix("site-1") == "pman:site-1:"


# The publisher


class FakeQueues:
    """Queues of any length; ``push`` does what the test says."""

    def __init__(self, push: Callable[[str, str], None]) -> None:
        self.push = push

    def length(self, queue: str) -> int:
        return len(queue)


def test_the_backlog_is_that_of_the_queue_for_all_hosts() -> None:
    assert QueuePublisher(app_of(), "mock", FakeQueues(lambda *_: None)).backlog(Task.SUBMIT) == len("pman.mock.submit")


def test_a_message_names_its_task_and_carries_the_jid_and_the_generation_and_nothing_else() -> None:
    pushed: list[tuple[str, str]] = []
    publisher = QueuePublisher(app_of(), "mock", FakeQueues(lambda *item: pushed.append(item)))
    assert publisher.publish(Task.SUBMIT, "j", "01h")
    assert publisher.publish(Task.DELETE, "j", "01h", host="node-2")
    assert [queue for queue, _ in pushed] == ["pman.mock.submit", "pman.mock.control.node-2"]
    for (_, text), task in zip(pushed, ("pman.submit", "pman.delete"), strict=True):
        message = json.loads(text)
        args, kwargs, _ = json.loads(b64decode(message["body"]))
        assert (message["headers"]["task"], args, kwargs) == (task, ["j", "01h"], {})


def test_a_queue_is_below_the_prefix_of_the_instance_where_workers_look_for_it() -> None:
    client = FakeStrictRedis(decode_responses=True)
    store = RedisStore(client, "site-1", Policy())
    app = app_of(pman_instance="site-1")
    assert QueuePublisher(app, "mock", store).publish(Task.REFRESH, "j", "01h")
    prefix = app.conf.broker_transport_options["global_keyprefix"]
    assert client.keys() == [prefix + "pman.mock.refresh"]
    assert "pman.mock.refresh" in [queue.name for queue in app.conf.task_queues]


def test_a_broker_that_is_away_is_false_and_not_an_error() -> None:
    def push(queue: str, message: str) -> None:
        raise StoreUnavailable("connection refused")

    assert not QueuePublisher(app_of(), "mock", FakeQueues(push)).publish(Task.SUBMIT, "j", "01h")


def test_an_error_of_ours_is_not_taken_for_a_broker_that_is_away() -> None:
    def push(queue: str, message: str) -> None:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        QueuePublisher(app_of(), "mock", FakeQueues(push)).publish(Task.SUBMIT, "j", "01h")


@pytest.mark.parametrize("scheme", ["redis", "sentinel"])
def test_a_broker_that_says_nothing_is_given_up_soon(scheme: str) -> None:
    with socket.socket() as black_hole:
        black_hole.bind(("127.0.0.1", 0))
        black_hole.listen(16)
        url = f"{scheme}://127.0.0.1:{black_hole.getsockname()[1]}/0"
        store = RedisStore.connect(settings(url, redis_timeout_s=0.1))
        begin_s = time.monotonic()
        assert not QueuePublisher(app_of(url), "mock", store).publish(Task.SUBMIT, "j", "01h")
        assert time.monotonic() - begin_s < 5.0  # 0.2 s, and what a busy machine adds
