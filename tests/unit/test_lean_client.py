"""What the lean client leaves out must not be missed: dead connections, refusals, interruptions, many threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from redis import Connection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from pman_core.store.lean_client import LeanRedis


class Line:
    """A connection that answers what it is told to, command by command, and says what became of it."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[Any, ...]] = []
        self.connects = self.disconnects = 0
        self.is_connected = True

    def connect(self) -> None:
        self.connects += 1
        self.is_connected = True

    def send_command(self, *args: Any) -> None:
        assert self.is_connected, "it would connect to where the master was before a failover"
        self.sent.append(args)

    def read_response(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def disconnect(self) -> None:
        self.disconnects += 1
        self.is_connected = False


class Pool:
    """Hands out ``lines``, one after the other."""

    connection_kwargs: dict[str, Any] = {}

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines

    def get_connection(self) -> Line:
        return self._lines.pop(0)

    def get_encoder(self) -> None: ...

    def get_protocol(self) -> int:
        return 2

    def disconnect(self) -> None: ...


@pytest.fixture
def client() -> Callable[..., LeanRedis]:
    def make(*lines: Line) -> LeanRedis:
        made = LeanRedis(connection_pool=Pool(list(lines)))  # type: ignore[arg-type]
        made.response_callbacks.clear()
        return made

    return make


def test_a_connection_serves_one_command_after_the_other(client: Callable[..., LeanRedis]) -> None:
    line = Line("one", "two")
    redis = client(line)
    assert [redis.execute_command("GET", "a"), redis.execute_command("GET", "b")] == ["one", "two"]
    assert line.sent == [("GET", "a"), ("GET", "b")]
    assert line.disconnects == 0


def test_who_has_lost_the_server_asks_where_it_is_now_before_each_try(client: Callable[..., LeanRedis]) -> None:
    line = Line(*[RedisConnectionError("away")] * 4, "pong")
    redis = client(line)
    for _ in range(2):
        with pytest.raises(RedisConnectionError):
            redis.execute_command("PING")
    assert redis.execute_command("PING") == "pong"
    assert line.connects == 4


def test_a_dead_connection_costs_one_more_try_and_no_more(client: Callable[..., LeanRedis]) -> None:
    line = Line(RedisConnectionError("closed"), "pong", RedisConnectionError("away"), RedisConnectionError("away"))
    redis = client(line)
    assert redis.execute_command("PING") == "pong"
    assert line.disconnects == 1
    with pytest.raises(RedisConnectionError):
        redis.execute_command("PING")
    assert len(line.sent) == 4


def test_a_server_that_cannot_be_reached_costs_two_time_outs_and_no_more(
    client: Callable[..., LeanRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Connection] = []

    def time_out(connection: Connection) -> None:
        tries.append(connection)
        raise TimeoutError

    monkeypatch.setattr(Connection, "_connect", time_out)
    with pytest.raises(RedisTimeoutError):
        client(Connection(retry=Retry(NoBackoff(), 1))).execute_command("PING")
    assert len(tries) == 2


def test_a_refusal_is_a_whole_reply(client: Callable[..., LeanRedis]) -> None:
    line = Line(ResponseError("OOM"), "two")
    redis = client(line)
    with pytest.raises(ResponseError):
        redis.execute_command("SET", "a", "1")
    assert redis.execute_command("GET", "a") == "two"
    assert line.disconnects == 0


def test_after_an_interruption_nobody_is_given_the_reply_of_somebody_else(client: Callable[..., LeanRedis]) -> None:
    line = Line(KeyboardInterrupt(), "two")
    redis = client(line)
    with pytest.raises(KeyboardInterrupt):
        redis.execute_command("GET", "a")
    assert line.disconnects == 1
    assert redis.execute_command("GET", "b") == "two"


def test_threads_that_ask_at_once_have_a_connection_each(client: Callable[..., LeanRedis]) -> None:
    together = Barrier(4)

    class Slow(Line):
        def read_response(self) -> object:
            together.wait(10)
            return len(self.sent)

    redis = client(*(Slow() for _ in range(4)))
    with ThreadPoolExecutor(4) as threads:
        for _ in range(2):
            replies = list(threads.map(lambda _: redis.execute_command("PING"), range(4)))
    assert replies == [2, 2, 2, 2], "the second time nobody needed a new one"
