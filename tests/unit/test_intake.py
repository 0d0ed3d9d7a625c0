"""What is no message is dropped, acknowledged or not; what is wrong with the connection is not hidden."""

from decimal import InvalidOperation
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from pman_worker import intake


class Channel:
    def __init__(self) -> None:
        self.rejected: list[str] = []

    def basic_reject(self, delivery_tag: str, *, requeue: bool) -> None:
        assert not requeue
        self.rejected.append(delivery_tag)


def raising(error: Exception) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


@pytest.mark.parametrize("error", [ValueError("not JSON"), RecursionError(), InvalidOperation("no decimal")])
def test_a_text_that_is_not_json_is_dropped_and_the_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(intake, "_read_next", raising(error))
    assert intake.read_next(Channel()) is True


@pytest.mark.parametrize(
    ("raw", "rejected"),
    [
        ({"properties": {"delivery_tag": "tag"}}, ["tag"]),
        ({}, []),
        (None, []),
        ([], []),
        (17, []),
        ({"properties": 1}, []),
    ],
)
def test_what_celery_cannot_handle_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, raw: object, rejected: list[str]
) -> None:
    monkeypatch.setattr(intake, "_deliver", raising(TypeError("what is this?")))
    channel = Channel()
    intake.deliver(SimpleNamespace(channels=[channel]), raw, "queue")
    assert channel.rejected == rejected


def test_a_connection_that_is_lost_is_no_message_to_be_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, call in (("_read_next", intake.read_next), ("_deliver", lambda c: intake.deliver(c, {}, "queue"))):
        monkeypatch.setattr(intake, name, raising(RedisConnectionError("gone")))
        with pytest.raises(RedisConnectionError):
            call(Channel())
