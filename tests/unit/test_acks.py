"""A worker must outlive its broker, and must not ask it once for every message."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport.redis import QoS, SentinelChannel, SentinelTransport, Transport

from pman_worker import acks
from pman_worker.acks import BundledAcks, PlainChannel


class Loop:
    """Celery's loop; its timers fire when told."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        assert delay_s == acks.BUNDLE_S
        self.timers.append(call)

    def fire(self) -> None:
        while self.timers:
            self.timers.pop(0)()


class FakeChannel:
    """Records what would be sent."""

    unacked_index_key, unacked_key, do_restore = "index", "unacked", True
    closed = False

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.fault: Exception | None = None

    def conn_or_acquire(self) -> "Client":
        if self.fault:
            raise self.fault
        return Client(self.sent)


class Message:
    """What of a message the bookkeeping looks at."""

    delivery_info = {"exchange": "", "routing_key": "pman.mock.submit"}

    def __init__(self, raw: dict[str, str]) -> None:
        self._raw = raw


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(acks, "get_event_loop", lambda: loop)
    return loop


class Client:
    """A Redis client and its pipeline in one."""

    def __init__(self, sent: list[tuple[Any, ...]]) -> None:
        self._sent = sent

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None: ...

    def pipeline(self, transaction: bool = True) -> "Client":
        assert not transaction
        return self

    def zrem(self, *args: str) -> "Client":
        self._sent.append(("zrem", *args))
        return self

    def zadd(self, key: str, scores: dict[str, float]) -> "Client":
        self._sent.append(("zadd", key, *scores))
        return self

    def hset(self, *args: str) -> "Client":
        self._sent.append(("hset", *args))
        return self

    def hdel(self, *args: str) -> "Client":
        self._sent.append(("hdel", *args))
        return self

    def execute(self) -> None:
        self._sent.append(("execute",))


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


def test_the_tasks_of_a_moment_are_acknowledged_together(loop: Loop, channel: FakeChannel) -> None:
    qos = BundledAcks(channel)
    for tag in ("a", "b", "c"):
        qos.ack(tag)
    assert channel.sent == []
    assert len(loop.timers) == 1
    loop.fire()
    assert channel.sent == [("zrem", "index", "a", "b", "c"), ("hdel", "unacked", "a", "b", "c"), ("execute",)]
    qos.ack("d")
    loop.fire()
    assert channel.sent[-2] == ("hdel", "unacked", "d")


def test_what_is_acknowledged_makes_room_at_once(loop: Loop, channel: FakeChannel) -> None:
    qos = BundledAcks(channel, prefetch_count=1)
    qos._quick_append("a", None)
    assert not qos.can_consume()
    qos.ack("a")
    assert qos.can_consume()


def test_messages_of_a_closed_channel_are_left_to_come_back(
    loop: Loop, channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected: list[str] = []
    monkeypatch.setattr(QoS, "reject", lambda _, tag, requeue=False: rejected.append(tag))
    qos = BundledAcks(channel)
    qos.ack("in time")
    qos.reject("in time")
    channel.closed = True
    qos.ack("late")
    qos.reject("late")
    loop.fire()
    assert channel.sent == []
    assert rejected == ["in time"]
    assert loop.timers == []


def test_without_a_loop_nothing_is_put_off(channel: FakeChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "get_event_loop", lambda: None)
    BundledAcks(channel).ack("a")
    assert ("execute",) in channel.sent


def test_a_message_is_written_down_before_it_is_under_way(loop: Loop, channel: FakeChannel) -> None:
    message = Message({"body": "x"})
    qos = BundledAcks(channel, prefetch_count=2)
    qos._quick_append("done", message)
    qos.ack("done")
    qos.append(message, "a")
    assert channel.sent == [
        ("zadd", "index", "a"),
        ("hset", "unacked", "a", '[{"body": "x"}, "", "pman.mock.submit"]'),
        ("execute",),
    ]
    assert list(qos._delivered) == ["a"], "what is acknowledged is forgotten"


def test_a_message_that_cannot_be_written_down_is_not_taken_for_received(channel: FakeChannel) -> None:
    channel.fault = ConnectionError("away")
    qos = BundledAcks(channel)
    with pytest.raises(ConnectionError):
        qos.append(Message({}), "a")
    assert not qos._delivered


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    for transport in (Transport, SentinelTransport):
        monkeypatch.setattr(transport, "Channel", transport.Channel)


@pytest.mark.usefixtures("stock")
def test_every_redis_channel_of_the_process_gets_it() -> None:
    acks.install()
    assert Transport.Channel.QoS is SentinelTransport.Channel.QoS is BundledAcks
    assert issubclass(SentinelTransport.Channel, SentinelChannel)
    assert not BundledAcks.restore_at_shutdown


def test_a_channel_has_one_client_as_long_as_it_has_one_pool() -> None:
    channel = PlainChannel.__new__(PlainChannel)
    made: list[Any] = []

    def make() -> Any:
        made.append(SimpleNamespace(connection_pool=channel.pool))
        return made[-1]

    channel._create_client = make
    channel._pool = "one"
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second, channel.conn_or_acquire("own") as own:
        assert first is second
        assert own == "own"
    channel._pool = "another"
    with channel.conn_or_acquire() as third:
        assert third is not first
    assert len(made) == 2
    channel._pool = None
