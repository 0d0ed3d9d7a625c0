"""Many records in a store, written by the store's own methods, so that they are what a busy site has."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context

from benchmarks.load import BODY
from pman_core.backend import Backend, Handle, Observed
from pman_core.job import JobRecord
from pman_core.request import parse_request
from pman_core.settings import load_settings
from pman_core.states import State
from pman_core.store.protocol import Change, Moved
from pman_core.store.redis import RedisStore
from pman_worker.observation import to_change

PAGE = 500
PROCESSES = 2
TOKEN = "0123456789abcdef"
"""A submit lease, as long as those of workers."""


def create(store: RedisStore, backend: str, jids: Sequence[str], env: Sequence[str] = ()) -> list[JobRecord]:
    """Accept a job for each of ``jids``, as a POST does, without enqueuing it."""
    if not store.epoch(backend):
        store.begin_epoch(backend)
    request = {**BODY, "env": list(env)}
    return [store.create(parse_request(request | {"jid": jid}), backend).record for jid in jids]


def submit_to(backend: Backend, instance: str, records: Sequence[JobRecord]) -> None:
    """Hand each job to ``backend``, as a worker does."""
    for record in records:
        backend.submit(record.spec(instance))


def begin(store: RedisStore, records: Sequence[JobRecord]) -> None:
    """Bring waiting records to RUNNING on the mock: claimed, handed over, observed."""
    for page in _pages(records):
        _hand_over(store, page)
        _move(store, [to_change(_seen(record, State.RUNNING)) for record in page])


def finish(store: RedisStore, records: Sequence[JobRecord]) -> None:
    """Bring waiting records to their good end on the mock: claimed, handed over, observed as ended without a log."""
    for page in _pages(records):
        _hand_over(store, page)
        _move(store, [to_change(_seen(record, State.SUCCEEDED), "") for record in page])


class Crowd:
    """Two processes that write records: one alone leaves a core idle."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self._pool = ProcessPoolExecutor(PROCESSES, get_context("spawn"))

    def create(self, jids: Sequence[str]) -> list[list[JobRecord]]:
        shares = [jids[number::PROCESSES] for number in range(PROCESSES)]
        return list(self._pool.map(_create_share, [self._env] * PROCESSES, shares))

    def finish(self, shares: Sequence[Sequence[JobRecord]]) -> None:
        list(self._pool.map(_finish_share, [self._env] * len(shares), shares))

    def close(self) -> None:
        self._pool.shutdown()


def connect(env: Mapping[str, str]) -> RedisStore:
    """Return a store for the settings ``env``."""
    names = ("CONTAINER_ENV", "REDIS_URL", "STOREBASE", "PMAN_INSTANCE")
    return RedisStore.connect(load_settings(**{name.lower(): env[name] for name in names}))


def _create_share(env: Mapping[str, str], jids: Sequence[str]) -> list[JobRecord]:
    return create(connect(env), env["CONTAINER_ENV"], jids)


def _finish_share(env: Mapping[str, str], records: Sequence[JobRecord]) -> None:
    finish(connect(env), records)


def _pages(records: Sequence[JobRecord]) -> Iterator[Sequence[JobRecord]]:
    return (records[start : start + PAGE] for start in range(0, len(records), PAGE))


def _handle(record: JobRecord) -> Handle:
    return Handle(1, {"id": record.generation})


def _hand_over(store: RedisStore, page: Sequence[JobRecord]) -> None:
    def change(record: JobRecord, state: State, handle_json: str = "") -> Change:
        return Change(record.jid, record.generation, state, token=TOKEN, handle_json=handle_json, message="")

    _move(store, [change(record, State.SUBMITTING) for record in page])
    _move(store, [change(record, State.PENDING, _handle(record).to_json()) for record in page])


def _seen(record: JobRecord, state: State) -> Observed:
    now = datetime.now(UTC)
    is_running = state is State.RUNNING
    return Observed(
        record.jid, record.generation, record.digest, state, _handle(record),
        native_state="running" if is_running else "exited",
        exit_code=None if is_running else 0, started_at=now, finished_at=None if is_running else now,
    )  # fmt: skip


def _move(store: RedisStore, changes: Sequence[Change]) -> None:
    if refused := [moved for moved in store.advance_many(changes) if moved is not Moved.OK]:
        raise RuntimeError(f"{len(refused)} moves were refused: {refused[0]}")
