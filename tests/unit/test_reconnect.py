"""A worker must outlive its broker: nothing is done with the messages of a channel that is gone."""

from types import SimpleNamespace

import pytest
from kombu.transport.redis import Channel, QoS, SentinelChannel

from pman_worker.reconnect import ForgivingQoS, survive_broker_loss


@pytest.fixture
def acked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tags: list[str] = []
    monkeypatch.setattr(QoS, "ack", lambda _, tag: tags.append(tag))
    monkeypatch.setattr(QoS, "reject", lambda _, tag, requeue=False: tags.append(tag))
    return tags


@pytest.mark.parametrize("method", ["ack", "reject"])
def test_messages_of_a_closed_channel_are_left_to_come_back(acked: list[str], method: str) -> None:
    qos = ForgivingQoS.__new__(ForgivingQoS)
    qos.channel = SimpleNamespace(closed=True)
    getattr(qos, method)("lost")
    qos.channel = SimpleNamespace(closed=False)
    getattr(qos, method)("kept")
    assert acked == ["kept"]


def test_every_redis_channel_of_the_process_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "QoS", QoS)
    survive_broker_loss()
    assert SentinelChannel.QoS is ForgivingQoS
    assert not ForgivingQoS.restore_at_shutdown
