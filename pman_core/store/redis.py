"""The store in Redis (or Valkey) >= 6.2. What it does is in the scripts of ``lua/``; here is only the calling of them.

Keys, all below ``pman:<instance>:``

=====================  ======  =====================================================================
``job:<jid>``          hash    the record
``tomb:<jid>``         hash    ``upto`` and one ``g:<generation>`` per object not verified gone
``jobs``               zset    ``generation jid`` of all records, so by time of creation
``waiting:<backend>``  zset    QUEUED and SUBMITTING, by the time they are due to be enqueued again
``running:<backend>``  zset    PENDING and RUNNING, by the time the handle was stored
``terminal:<backend>`` zset    the rest, by the time of their end
``obligations:<b.>``   zset    ``jid generation host`` by the time they are due
``epoch:<backend>``    string  present once a complete sweep was done
``leader:<scope>``     hash    the observer's lease
``backend:<backend>``  string  what workers say of the backend, JSON
``pull:<b.>:<image>``  hash    who pulls the image, and when it was last fetched; expires
``waiters:<b.>:<im.>`` hash    the jobs that wait for the image; expires
=====================  ======  =====================================================================
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeVar, cast

import redis
from redis.exceptions import NoScriptError

from pman_core.command import build_cmd
from pman_core.errors import StoreUnavailable
from pman_core.job import JobRecord, JobSpec, mint_generation
from pman_core.queues import Message, key_prefix
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State
from pman_core.store import wire
from pman_core.store.connection import confirmed, make_client
from pman_core.store.policy import Policy
from pman_core.store.protocol import (
    Adopted,
    Announce,
    BackendReport,
    Change,
    Claim,
    Created,
    Creation,
    Deletion,
    Moved,
    Obligation,
    Page,
    Standing,
)
from pman_core.store.redis_pulls import SCRIPT_NAMES as PULL_SCRIPT_NAMES
from pman_core.store.redis_pulls import RedisPulls

Item = TypeVar("Item")

SCRIPT_NAMES = (
    "adopt", "advance", "begin_epoch", "claim_enqueue", "claim_refresh", "create", "delete", "expire",
    "fill_logs", "lead", "note_absent", "note_present", "release", "resign", "settle", "standing",
    "unsettled",
)  # fmt: skip

BUNDLE = 50
"""So many commands go out together. Redis answers such a bundle as one; whoever polls meanwhile waits for it."""


class RedisStore(RedisPulls):
    """See :class:`pman_core.store.protocol.Store` for what each method promises."""

    def __init__(
        self,
        client: "redis.Redis",
        instance: str,
        policy: Policy,
        *,
        replica_wait_ms: int = 0,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """Use ``client`` (decoding replies). ``now_ms`` replaces the server's clock in tests.

        With ``replica_wait_ms`` a POST is confirmed only when a replica has it too, within so long.
        """
        self.instance = instance
        self._redis = client
        self._policy = policy
        self._replica_wait_ms = replica_wait_ms
        self._fixed_now_ms = now_ms
        self._prefix = key_prefix(instance)
        lua = files("pman_core.store") / "lua"
        prelude = (lua / "prelude.lua").read_text()
        scripts = {name: prelude + (lua / f"{name}.lua").read_text() for name in SCRIPT_NAMES}
        prelude += (lua / "pulls.lua").read_text()
        scripts |= {name: prelude + (lua / f"{name}.lua").read_text() for name in PULL_SCRIPT_NAMES}
        self._scripts = {name: client.register_script(text) for name, text in scripts.items()}

    @classmethod
    def connect(cls, settings: Settings) -> "RedisStore":
        """Return a store for ``settings``; nothing is sent yet. Every call ends within two time-outs."""
        client, has_replicas = make_client(settings)
        # The answer to WAIT must come before the socket's own time-out.
        wait_ms = round(settings.redis_timeout_s * 500) if has_replicas else 0
        return cls(client, settings.pman_instance, Policy.from_settings(settings), replica_wait_ms=wait_ms)

    # Calling

    def _now_arg(self) -> int:
        return self._fixed_now_ms() if self._fixed_now_ms else 0

    def _run(self, script: str, *args: str | int | float) -> Any:
        with confirmed():
            return self._scripts[script](keys=[self._prefix], args=[self._now_arg(), *args])

    def _run_many(self, script: str, calls: Sequence[Sequence[str | int | float]]) -> list[Any]:
        """Run one script many times in few round trips."""
        sha = self._scripts[script].sha
        replies: list[Any] = []
        with confirmed():
            for bundle in _bundles(calls):
                pipe = self._redis.pipeline(transaction=False)
                for args in bundle:
                    pipe.evalsha(sha, 1, self._prefix, self._now_arg(), *args)
                replies += pipe.execute(raise_on_error=False)
            for index, reply in enumerate(replies):
                if isinstance(reply, NoScriptError):  # a server that was started anew; those that ran are not repeated
                    replies[index] = self._run(script, *calls[index])
                elif isinstance(reply, Exception):
                    raise reply
        return replies

    def _key(self, kind: str, name: str = "") -> str:
        return f"{self._prefix}{kind}:{name}" if name else self._prefix + kind

    def ping(self) -> None:
        with confirmed():
            self._redis.set(self._key("ping"), "1", px=60_000)

    def push(self, queue: str, message: str) -> None:
        """Put ``message`` onto the Celery queue of that name: of this instance, in this Redis, like everything else."""
        with confirmed():
            self._redis.lpush(self._prefix + queue, message)

    def length(self, queue: str) -> int:
        """Return how many messages wait in that queue."""
        with confirmed():
            return self._redis.llen(self._prefix + queue)

    def now_ms(self) -> int:
        if self._fixed_now_ms:
            return self._fixed_now_ms()
        with confirmed():
            seconds, micros = self._redis.time()
            return int(seconds) * 1000 + int(micros) // 1000

    # The life of a job

    def create(self, request: JobRequest, backend: str, announce: Announce | None = None) -> Creation:
        cmd = build_cmd(request)
        generation = mint_generation()
        while True:
            args = (request.jid, generation, request.digest, backend, request.image, cmd, request.canonical)
            message = (announce and announce(request.jid, generation)) or Message("", "")
            outcome, *rest = self._create_once(*args, self._policy.requeue_ms, *message)
            if outcome != "retry":
                break
            generation = mint_generation(not_before=rest[0])
        if outcome != "new":
            fields = dict(zip(rest[::2], rest[1::2], strict=True))
            return Creation(Created(outcome), wire.to_record(request.jid, fields))
        record = JobRecord(
            jid=request.jid, generation=generation, digest=request.digest, backend=backend, state=State.QUEUED,
            image=request.image, cmd=cmd, created_at_ms=int(rest[0]), request_json=request.canonical,
        )  # fmt: skip
        return Creation(Created.NEW, record)

    def _create_once(self, *args: str | int) -> Any:
        if not self._replica_wait_ms:
            return self._run("create", *args)
        with confirmed():
            pipe = self._redis.pipeline(transaction=False)
            self._scripts["create"](keys=[self._prefix], args=[self._now_arg(), *args], client=pipe)
            pipe.wait(1, self._replica_wait_ms)
            reply, replicas = pipe.execute()
        if replicas < 1:
            raise StoreUnavailable("no replica has confirmed the record")
        return reply

    def get(self, jid: str) -> JobRecord | None:
        with confirmed():
            fields = cast("dict[str, str]", self._redis.hgetall(self._key("job", jid)))
        return wire.to_record(jid, fields) if fields else None

    def read(self, jid: str) -> JobRecord | None:
        return self._select([jid], wire.READ_FIELDS)[0]

    def get_many(self, jids: Sequence[str]) -> list[JobRecord | None]:
        return self._select(jids, wire.WORK_FIELDS)

    def _select(self, jids: Sequence[str], names: Sequence[str]) -> list[JobRecord | None]:
        if not jids:
            return []
        with confirmed():
            if len(jids) == 1:
                rows = [cast("list[str | None]", self._redis.hmget(self._key("job", jids[0]), names))]
            else:
                rows = []
                for bundle in _bundles(jids):
                    pipe = self._redis.pipeline(transaction=False)
                    for jid in bundle:
                        pipe.hmget(self._key("job", jid), names)
                    rows += pipe.execute()
        return [
            wire.to_record(jid, {name: value for name, value in zip(names, row, strict=True) if value is not None})
            if row[0] is not None
            else None
            for jid, row in zip(jids, rows, strict=True)
        ]

    def advance(self, change: Change) -> Moved:
        return _moved(self._run("advance", *self._advance_args(change)))

    def claim(self, jid: str, generation: str, token: str, host: str) -> Claim:
        change = Change(jid, generation, State.SUBMITTING, token=token, host=host, message="")
        reply = self._run("advance", *self._advance_args(change))
        moved = _moved(reply)
        if moved is not Moved.OK:
            return Claim(moved)
        return Claim(moved, wire.to_record(jid, dict(zip(reply[::2], reply[1::2], strict=True))))

    def advance_many(self, changes: Sequence[Change]) -> list[Moved]:
        if not changes:
            return []
        return [_moved(reply) for reply in self._run_many("advance", [self._advance_args(c) for c in changes])]

    def _advance_args(self, change: Change) -> list[str | int]:
        return [
            change.jid, change.generation, change.state, wire.SOURCES_TEXT[change.state], change.token, change.host,
            self._policy.lease_ms, self._policy.attempts_max, round(change.delay_s * 1000), int(change.uncounted),
            self._policy.fence_ms, int(change.only_if_absent), change.pull,
            *wire.change_fields(change, change.state in TERMINAL),
        ]  # fmt: skip

    def fill_logs(self, jid: str, generation: str, logs: str, *, only_running: bool = False) -> bool:
        return bool(self._run("fill_logs", jid, generation, wire.clip_logs(logs), int(only_running)))

    def delete(self, jid: str, claim_s: float = 0) -> Deletion:
        reply = self._run("delete", jid, mint_generation(), self._policy.tombstone_ms, round(claim_s * 1000))
        if not reply:
            return Deletion(None)
        generation, host, backend = reply
        return Deletion(Obligation(jid, generation, host), backend)

    def expire(self, jid: str, generation: str) -> bool:
        return bool(self._run("expire", jid, generation, self._policy.tombstone_ms))

    def adopt(self, spec: JobSpec, backend: str, host: str, *, is_terminal: bool) -> Adopted:
        request = spec.request
        reply = self._run(
            "adopt", spec.jid, spec.generation, request.digest, backend, request.image, build_cmd(request),
            request.canonical, self._policy.requeue_ms, host, int(is_terminal), int(self._policy.keeps_objects),
            self._policy.tombstone_ms,
        )  # fmt: skip
        return Adopted(reply)

    # Obligations

    def obligations(self, backend: str, limit: int) -> list[Obligation]:
        members = self._due(self._key("obligations", backend), self.now_ms(), limit)
        return [Obligation(*member.split(" ", 2)) for member in members]

    def postpone(self, backend: str, obligation: Obligation, delay_s: float) -> None:
        member = f"{obligation.jid} {obligation.generation} {obligation.host}"
        with confirmed():
            due_ms = self.now_ms() + round(delay_s * 1000)
            self._redis.zadd(self._key("obligations", backend), {member: due_ms}, xx=True)

    def settle(self, backend: str, obligation: Obligation) -> bool:
        args = (obligation.jid, obligation.generation, backend, obligation.host)
        return bool(self._run("settle", *args, self._policy.tombstone_ms, self._policy.fence_ms))

    def standing(self, jid: str, generation: str) -> Standing:
        is_leased, is_fenced = self._run("standing", jid, generation, self._policy.fence_ms)
        return Standing(bool(is_leased), bool(is_fenced))

    def release(self, jid: str, generation: str) -> bool:
        return bool(self._run("release", jid, generation))

    def unsettled(self, jid: str) -> list[str]:
        return list(self._run("unsettled", jid))

    # Lists

    def _due(self, key: str, before_ms: int, limit: int) -> list[str]:
        with confirmed():
            return cast("list[str]", self._redis.zrangebyscore(key, "-inf", before_ms, start=0, num=limit))

    def running(self, backend: str) -> list[str]:
        with confirmed():
            return cast("list[str]", self._redis.zrange(self._key("running", backend), 0, -1))

    def active(self, backend: str) -> Iterator[str]:
        with confirmed():
            yield from cast("list[str]", self._redis.zrange(self._key("waiting", backend), 0, -1))
        yield from self.running(backend)

    def due(self, backend: str, limit: int) -> list[str]:
        return self._due(self._key("waiting", backend), self.now_ms(), limit)

    def ended_before(self, backend: str, finished_before_ms: int, limit: int) -> list[str]:
        return self._due(self._key("terminal", backend), finished_before_ms, limit)

    def counts(self, backend: str) -> Mapping[str, int]:
        names = ("waiting", "running", "terminal", "obligations")
        with confirmed():
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.zcard(self._key(name, backend))
            return dict(zip(names, pipe.execute(), strict=True))

    def page(self, cursor: str, limit: int) -> Page:
        # The index is sorted by generation, so the cursor stays right while jobs come and go.
        with confirmed():
            highest = f"({cursor}" if cursor else "+"
            members = cast(
                "list[str]",
                self._redis.zrevrangebylex(self._key("jobs"), highest, "-", start=0, num=limit + 1),
            )
        shown = members[:limit]
        records = self._select([member.split(" ", 1)[1] for member in shown], wire.LIST_FIELDS)
        next_cursor = shown[-1] if len(members) > limit else ""
        return Page([record for record in records if record is not None], next_cursor)

    # Claims and leases

    def claim_enqueue(self, jid: str, generation: str, delay_s: float) -> bool:
        return bool(self._run("claim_enqueue", jid, generation, round(delay_s * 1000)))

    def claim_refresh(self, jid: str, generation: str, every_s: float) -> bool:
        return bool(self._run("claim_refresh", jid, generation, round(every_s * 1000)))

    def lead(self, scope: str, token: str, lease_s: float) -> bool:
        return bool(self._run("lead", scope, token, round(lease_s * 1000)))

    def resign(self, scope: str, token: str) -> None:
        self._run("resign", scope, token)

    def note_absent(self, jid: str, generation: str, scope: str, token: str, listed_at_ms: int) -> tuple[int, int]:
        count, absent_ms = self._run("note_absent", jid, generation, scope, token, listed_at_ms)
        return int(count), int(absent_ms)

    def note_present(self, jid: str, generation: str) -> None:
        self._run("note_present", jid, generation)

    def epoch(self, backend: str) -> bool:
        with confirmed():
            return bool(self._redis.exists(self._key("epoch", backend)))

    def begin_epoch(self, backend: str) -> None:
        self._run("begin_epoch", backend)

    # What workers say of themselves

    def publish(self, report: BackendReport) -> None:
        text = json.dumps(
            {"capabilities": dict(report.capabilities), "ok": report.ok, "message": report.message, "at": self.now_ms()}
        )
        with confirmed():
            self._redis.set(self._key("backend", report.name), text)

    def report(self, backend: str) -> BackendReport | None:
        with confirmed():
            text = cast("str | None", self._redis.get(self._key("backend", backend)))
        if text is None:
            return None
        data = json.loads(text)
        return BackendReport(backend, data["capabilities"], data["ok"], data["message"], data["at"])


def _bundles(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + BUNDLE] for start in range(0, len(items), BUNDLE))


def _moved(reply: str | list[str]) -> Moved:
    """Only a granted claim is answered with a record."""
    return Moved(reply) if isinstance(reply, str) else Moved.OK
