"""The vocabulary of the tests of the store: one job, its policy, a clock, and short words for what is done with them.

The stores themselves come from the fixtures of ``store_fixtures.py``.
"""

from typing import Any

import redis
from fakeredis import FakeStrictRedis

from pman_core.job import JobRecord, JobSpec, mint_generation
from pman_core.request import JobRequest, parse_request
from pman_core.states import NATIVE, State
from pman_core.store.policy import Policy
from pman_core.store.protocol import Change, Created, Moved, Store

BACKEND = "mock"
JID = "chris-jid-1"
TOKEN = "the submitter"
POLICY = Policy(lease_ms=60_000, attempts_max=3, requeue_ms=10_000, fence_ms=300_000)
KEEPING = Policy(lease_ms=60_000, attempts_max=3, requeue_ms=10_000, fence_ms=300_000, keeps_objects=True)

BODY: dict[str, Any] = {
    "jid": JID,
    "args": ["--prefix", "le file"],
    "auid": "cube",
    "number_of_workers": "1",
    "cpu_limit": "1000",
    "memory_limit": "200",
    "gpu_limit": "0",
    "image": "fnndsc/pl-simplefsapp",
    "entrypoint": ["python3", "/usr/local/bin/simplefsapp"],
    "type": "ds",
    "input_dir": "key-chris-jid-1/incoming",
    "output_dir": "key-chris-jid-1/outgoing",
}


class Clock:
    """A store's ``now_ms``."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


def fake_client() -> "redis.Redis":
    """A client of a new, empty fake server."""
    return FakeStrictRedis(decode_responses=True, server_type="valkey")


def request_of(jid: str = JID, **fields: Any) -> JobRequest:
    return parse_request(BODY | {"jid": jid} | fields)


def spec_of(jid: str = JID, generation: str = "", **fields: Any) -> JobSpec:
    """What a native object of ``jid`` carries."""
    return JobSpec(generation or mint_generation(), "pman", request_of(jid, **fields))


def post(store: Store, jid: str = JID, **fields: Any) -> JobRecord:
    """Create a job that is not there yet."""
    creation = store.create(request_of(jid, **fields), BACKEND)
    assert creation.outcome is Created.NEW
    return creation.record


def record_of(store: Store, jid: str = JID) -> JobRecord:
    record = store.get(jid)
    assert record is not None
    return record


def move(store: Store, record: JobRecord, state: State, **fields: Any) -> Moved:
    return store.advance(Change(record.jid, record.generation, state, **fields))


def claim(store: Store, record: JobRecord, token: str = TOKEN, **fields: Any) -> Moved:
    return move(store, record, State.SUBMITTING, token=token, **fields)


def bring(store: Store, state: State, jid: str = JID, **fields: Any) -> JobRecord:
    """Post ``jid`` and take it the usual way to ``state``."""
    record = post(store, jid)
    way = [State.PENDING, state] if state not in NATIVE else [state]
    if state is not State.QUEUED:
        assert claim(store, record) is Moved.OK
    if state not in {State.QUEUED, State.SUBMITTING}:
        for step in way:
            token = TOKEN if step is way[0] else ""
            assert move(store, record, step, token=token, **fields if step is state else {}) is Moved.OK
    return record_of(store, jid)
