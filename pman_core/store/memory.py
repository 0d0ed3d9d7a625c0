"""The store in one process's memory: the readable twin of the Lua scripts, for tests and for trying things out.

The contract suite holds both to the same promises; where they differ, one of them is wrong.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

from pman_core.command import build_cmd
from pman_core.job import JobRecord, JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.states import NATIVE, SOURCES, TERMINAL, WAITING, State
from pman_core.store.memory_pulls import MemoryPulls
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
from pman_core.store.wire import LIST_FIELDS, READ_FIELDS, WORK_FIELDS, clean, clip_logs, clip_message, only


@dataclass
class _Job:
    """A record and what only the store sees of it."""

    record: JobRecord
    due_ms: int = 0
    lease: str = ""
    absent: int = 0
    absent_since_ms: int = 0
    listed_at_ms: int = 0
    fence_until_ms: int = 0
    ended_ms: int = 0

    @property
    def whole(self) -> JobRecord:
        """The record as a reader of all its fields sees it."""
        return replace(self.record, absent=self.absent)

    def is_leased(self, now: int) -> bool:
        return bool(self.lease) and self.record.lease_until_ms > now


@dataclass
class _Tomb:
    upto: str = ""
    fences: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    """Generation -> end of its submit lease (0: returned), for every object that is not verified gone."""

    def fenced_until_ms(self, generation: str, fence_ms: int) -> int:
        """A lease that is not returned has a fence behind it: its holder may only be asleep."""
        lease_until_ms, fence_until_ms = self.open.get(generation, 0), self.fences.get(generation, 0)
        return max(fence_until_ms, lease_until_ms + fence_ms) if lease_until_ms else fence_until_ms


class MemoryStore(MemoryPulls):
    """See :class:`pman_core.store.protocol.Store` for what each method promises."""

    def __init__(
        self, instance: str = "pman", policy: Policy | None = None, now_ms: Callable[[], int] | None = None
    ) -> None:
        super().__init__()
        self.instance = instance
        self.now_ms: Callable[[], int] = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._policy = policy or Policy()
        self._lock = threading.RLock()
        self._jobs: dict[str, _Job] = {}
        self._tombs: dict[str, _Tomb] = {}
        self._obligations: dict[str, dict[Obligation, int]] = {}
        self._leaders: dict[str, tuple[str, int, int]] = {}
        self._epochs: set[str] = set()
        self._reports: dict[str, BackendReport] = {}
        self._queues: Counter[str] = Counter()

    def ping(self) -> None:
        """A process's own memory is always there."""

    def _find(self, jid: str, generation: str) -> _Job | None:
        job = self._jobs.get(jid)
        return job if job and job.record.generation == generation else None

    # The life of a job

    def create(self, request: JobRequest, backend: str, announce: Announce | None = None) -> Creation:
        with self._lock:
            job = self._jobs.get(request.jid)
            if job:
                same = job.record.digest == request.digest
                return Creation(Created.SAME if same else Created.OTHER, job.whole)
            tomb = self._tombs.get(request.jid)
            spec = JobSpec(mint_generation(not_before=tomb.upto if tomb else ""), self.instance, request)
            record = self._write_new(spec, backend)
            if message := announce and announce(spec.jid, spec.generation):
                self._queues[message.queue] += 1
            return Creation(Created.NEW, record)

    def length(self, queue: str) -> int:
        """Return how many messages were enqueued by :meth:`create`; nobody consumes them here."""
        return self._queues[queue]

    def _write_new(self, spec: JobSpec, backend: str, host: str = "") -> JobRecord:
        request, now = spec.request, self.now_ms()
        record = JobRecord(
            jid=spec.jid, generation=spec.generation, digest=request.digest, backend=backend, state=State.QUEUED,
            image=request.image, cmd=build_cmd(request), created_at_ms=now, request_json=request.canonical, host=host,
        )  # fmt: skip
        self._jobs[spec.jid] = _Job(record, due_ms=now + self._policy.requeue_ms)
        return record

    def get(self, jid: str) -> JobRecord | None:
        with self._lock:
            job = self._jobs.get(jid)
            return job.whole if job else None

    def read(self, jid: str) -> JobRecord | None:
        record = self.get(jid)
        return only(record, READ_FIELDS) if record else None

    def get_many(self, jids: Sequence[str]) -> list[JobRecord | None]:
        with self._lock:
            jobs = [self._jobs.get(jid) for jid in jids]
            return [only(job.whole, WORK_FIELDS) if job else None for job in jobs]

    def advance(self, change: Change) -> Moved:
        with self._lock:
            now = self.now_ms()
            job = self._jobs.get(change.jid)
            if not job:
                return Moved.NO_RECORD
            if job.record.generation != change.generation:
                return Moved.OTHER_GENERATION
            is_ours = bool(change.token) and job.lease == change.token
            if change.token and change.state is not State.SUBMITTING and not is_ours:
                return Moved.STALE
            if job.record.state not in SOURCES[change.state]:
                if is_ours:
                    self._drop_lease(job)
                return Moved.FORBIDDEN
            if change.state is State.QUEUED and not is_ours:
                return Moved.STALE
            if self._is_stale(job, change):
                return Moved.STALE
            if change.state is State.SUBMITTING:
                return self._take_lease(job, change, now)
            if change.state is State.QUEUED:
                self._requeue(job, change, now)
            else:
                self._move_on(job, change, now, is_ours)
            self._write(job, change)
            return Moved.OK

    def _is_stale(self, job: _Job, change: Change) -> bool:
        was_seen_since = change.only_if_absent and not job.absent_since_ms
        return was_seen_since or bool(change.pull and not self._waits_for(job.record, change.pull))

    def claim(self, jid: str, generation: str, token: str, host: str) -> Claim:
        with self._lock:
            moved = self.advance(Change(jid, generation, State.SUBMITTING, token=token, host=host, message=""))
            return Claim(moved, self.get(jid) if moved is Moved.OK else None)

    def _drop_lease(self, job: _Job) -> None:
        job.lease = ""
        job.record = replace(job.record, lease_until_ms=0)

    def _take_lease(self, job: _Job, change: Change, now: int) -> Moved:
        record = job.record
        if record.backend not in self._epochs:
            return Moved.SWEEPING
        if self.unsettled(record.jid):
            return Moved.BLOCKED
        if job.is_leased(now):
            return Moved.OK if job.lease == change.token else Moved.LEASED
        if record.next_attempt_at_ms > now:
            return Moved.EARLY
        if record.attempts >= self._policy.attempts_max:
            return Moved.EXHAUSTED
        if job.lease:
            job.fence_until_ms = now + self._policy.fence_ms
        job.lease = change.token
        job.due_ms = now + self._policy.lease_ms
        job.record = replace(record, attempts=record.attempts + 1, host=change.host, lease_until_ms=job.due_ms)
        self._write(job, change)
        return Moved.OK

    def _requeue(self, job: _Job, change: Change, now: int) -> None:
        job.lease = ""
        job.due_ms = now + round(change.delay_s * 1000)
        record = replace(job.record, lease_until_ms=now, next_attempt_at_ms=job.due_ms)
        if change.uncounted:
            record = replace(record, attempts=record.attempts - 1, retries=record.retries + 1)
        job.record = record

    def _move_on(self, job: _Job, change: Change, now: int, is_ours: bool) -> None:
        if is_ours:
            self._drop_lease(job)
        job.absent = job.absent_since_ms = 0
        was_waiting = job.record.state in WAITING
        job.record = replace(job.record, next_attempt_at_ms=0)
        if change.state in NATIVE:
            if was_waiting:
                job.record = replace(job.record, handle_at_ms=now)
            return
        job.ended_ms = now
        job.record = replace(job.record, finished_at_ms=now)
        if change.state is State.LOST:
            obligation = Obligation(change.jid, change.generation, change.host or job.record.host)
            self._oblige(job.record.backend, obligation, now)
            if job.fence_until_ms > now:
                tomb = self._tombs.setdefault(change.jid, _Tomb())
                tomb.fences[change.generation] = job.fence_until_ms

    def _write(self, job: _Job, change: Change) -> None:
        record = replace(job.record, state=change.state)
        if change.message is not None:
            record = replace(record, message=clip_message(change.message))
        if change.logs is not None:
            record = replace(record, logs=clip_logs(change.logs))
        job.record = replace(
            record,
            exit_code=record.exit_code if change.exit_code is None else change.exit_code,
            host=change.host or record.host,
            reason=change.reason or record.reason,
            native_state=clean(change.native_state) or record.native_state,
            handle_json=change.handle_json or record.handle_json,
            started_at_ms=change.started_at_ms or record.started_at_ms,
            finished_at_ms=change.finished_at_ms or record.finished_at_ms,
            logs_missing=record.logs_missing or (change.logs_missing and change.state in TERMINAL),
            image_at_ms=0 if change.image_missing else record.image_at_ms,
        )

    def advance_many(self, changes: Sequence[Change]) -> list[Moved]:
        return [self.advance(change) for change in changes]

    def fill_logs(self, jid: str, generation: str, logs: str, *, only_running: bool = False) -> bool:
        with self._lock:
            job = self._find(jid, generation)
            is_late = job is not None and job.record.logs_missing and not only_running
            if not job or not (job.record.state is State.RUNNING or is_late):
                return False
            job.record = replace(job.record, logs=clip_logs(logs), logs_at_ms=self.now_ms(), logs_missing=False)
            return True

    def delete(self, jid: str) -> Deletion:
        with self._lock:
            job = self._jobs.pop(jid, None)
            tomb = self._tombs.setdefault(jid, _Tomb())
            if not job:
                tomb.upto = max(tomb.upto, mint_generation())
                return Deletion(None)
            record = job.record
            tomb.upto = max(tomb.upto, record.generation)
            tomb.open[record.generation] = record.lease_until_ms if job.lease else 0
            if job.fence_until_ms > self.now_ms():
                tomb.fences[record.generation] = job.fence_until_ms
            obligation = Obligation(jid, record.generation, record.host)
            self._oblige(record.backend, obligation, self.now_ms())
            for other in tomb.open.keys() - {record.generation}:
                held_back = Obligation(jid, other)
                self._obligations[record.backend].setdefault(held_back, self.now_ms())
            return Deletion(obligation, record.backend)

    def expire(self, jid: str, generation: str) -> bool:
        with self._lock:
            job = self._find(jid, generation)
            if not job or not job.record.is_terminal:
                return False
            del self._jobs[jid]
            tomb = self._tombs.setdefault(jid, _Tomb())
            tomb.upto = max(tomb.upto, generation)
            return True

    def adopt(self, spec: JobSpec, backend: str, host: str, *, is_terminal: bool) -> Adopted:
        with self._lock:
            job = self._jobs.get(spec.jid)
            tomb = self._tombs.get(spec.jid, _Tomb())
            if job and job.record.generation == spec.generation:
                return Adopted.KNOWN
            if spec.generation <= tomb.upto:
                is_fenced = tomb.fences.get(spec.generation, 0) > self.now_ms()
                if is_terminal and (self._policy.keeps_objects or is_fenced):
                    return Adopted.KEPT
                return self._hold(spec, backend, host, must_go=True)
            if not job:
                self._write_new(spec, backend, host)
                return Adopted.CREATED
            if job.record.state not in WAITING or job.is_leased(self.now_ms()):
                if is_terminal and self._policy.keeps_objects and spec.generation < job.record.generation:
                    return Adopted.KEPT
                return self._hold(spec, backend, host, must_go=True)
            if Obligation(spec.jid, spec.generation, host) in self._obligations.get(backend, {}):
                return Adopted.REMOVE
            if job.record.digest == spec.request.digest:
                tomb = self._tombs.setdefault(spec.jid, _Tomb())
                tomb.upto = max(tomb.upto, job.record.generation)
                job.lease = ""
                job.record = replace(
                    job.record, generation=spec.generation, host=host, lease_until_ms=0, next_attempt_at_ms=0
                )
                return Adopted.TAKEN_OVER
            return self._hold(spec, backend, host, must_go=is_terminal)

    def _hold(self, spec: JobSpec, backend: str, host: str, *, must_go: bool) -> Adopted:
        self._tombs.setdefault(spec.jid, _Tomb()).open.setdefault(spec.generation, 0)
        if not must_go:
            return Adopted.HOLDS_BACK
        obligation = Obligation(spec.jid, spec.generation, host)
        self._oblige(backend, obligation, self._obligations.get(backend, {}).get(obligation, self.now_ms()))
        return Adopted.REMOVE

    # Obligations

    def _oblige(self, backend: str, obligation: Obligation, due_ms: int) -> None:
        self._obligations.setdefault(backend, {})[obligation] = due_ms

    def obligations(self, backend: str, limit: int) -> list[Obligation]:
        with self._lock:
            due = [(due, o) for o, due in self._obligations.get(backend, {}).items() if due <= self.now_ms()]
            return [o for _, o in sorted(due, key=lambda pair: (pair[0], astuple(pair[1])))[:limit]]

    def postpone(self, backend: str, obligation: Obligation, delay_s: float) -> None:
        with self._lock:
            if obligation in self._obligations.get(backend, {}):
                self._obligations[backend][obligation] = self.now_ms() + round(delay_s * 1000)

    def settle(self, backend: str, obligation: Obligation) -> bool:
        with self._lock:
            tomb = self._tombs.get(obligation.jid, _Tomb())
            if tomb.open.get(obligation.generation, 0) > self.now_ms():
                return False
            fence_until_ms = tomb.fenced_until_ms(obligation.generation, self._policy.fence_ms)
            tomb.open.pop(obligation.generation, None)
            # The obligation may have been written before the job had a host.
            self._obligations.get(backend, {}).pop(replace(obligation, host=""), None)
            if fence_until_ms > self.now_ms():
                tomb.fences[obligation.generation] = fence_until_ms
                self._oblige(backend, obligation, fence_until_ms)
            else:
                tomb.fences.pop(obligation.generation, None)
                self._obligations.get(backend, {}).pop(obligation, None)
            return True

    def standing(self, jid: str, generation: str) -> Standing:
        with self._lock:
            tomb, now = self._tombs.get(jid, _Tomb()), self.now_ms()
            is_fenced = tomb.fenced_until_ms(generation, self._policy.fence_ms) > now
            return Standing(tomb.open.get(generation, 0) > now, is_fenced)

    def release(self, jid: str, generation: str) -> bool:
        with self._lock:
            tomb = self._tombs.get(jid, _Tomb())
            if self._find(jid, generation):
                return False  # it took over a later one
            if generation in tomb.open:
                tomb.open[generation] = 0
            return generation <= tomb.upto

    def unsettled(self, jid: str) -> list[str]:
        with self._lock:
            return sorted(self._tombs.get(jid, _Tomb()).open)

    # Lists

    def _jids(self, backend: str, states: frozenset[State]) -> list[_Job]:
        return [job for job in self._jobs.values() if job.record.backend == backend and job.record.state in states]

    def running(self, backend: str) -> list[str]:
        with self._lock:
            jobs = sorted(self._jids(backend, NATIVE), key=lambda job: (job.record.handle_at_ms, job.record.jid))
            return [job.record.jid for job in jobs]

    def active(self, backend: str) -> Iterator[str]:
        with self._lock:
            jids = [job.record.jid for job in self._jids(backend, WAITING)]
        yield from jids
        yield from self.running(backend)

    def due(self, backend: str, limit: int) -> list[str]:
        with self._lock:
            jobs = [job for job in self._jids(backend, WAITING) if job.due_ms <= self.now_ms()]
            return [job.record.jid for job in sorted(jobs, key=lambda job: (job.due_ms, job.record.jid))[:limit]]

    def ended_before(self, backend: str, finished_before_ms: int, limit: int) -> list[str]:
        with self._lock:
            jobs = [job for job in self._jids(backend, TERMINAL) if job.ended_ms <= finished_before_ms]
            return [job.record.jid for job in sorted(jobs, key=lambda job: (job.ended_ms, job.record.jid))[:limit]]

    def counts(self, backend: str) -> Mapping[str, int]:
        with self._lock:
            groups = {"waiting": WAITING, "running": NATIVE, "terminal": TERMINAL}
            counts = {name: len(self._jids(backend, states)) for name, states in groups.items()}
            return counts | {"obligations": len(self._obligations.get(backend, {}))}

    def page(self, cursor: str, limit: int) -> Page:
        with self._lock:
            members = sorted((f"{job.record.generation} {jid}" for jid, job in self._jobs.items()), reverse=True)
            rest = [member for member in members if not cursor or member < cursor]
            records = [self._jobs[member.split(" ", 1)[1]].record for member in rest[:limit]]
            return Page([only(record, LIST_FIELDS) for record in records], rest[limit - 1] if len(rest) > limit else "")

    # Claims and leases

    def claim_enqueue(self, jid: str, generation: str, delay_s: float) -> bool:
        with self._lock:
            job = self._find(jid, generation)
            if not job or job.record.state not in WAITING or job.due_ms > self.now_ms():
                return False
            job.due_ms = self.now_ms() + round(delay_s * 1000)
            job.record = replace(job.record, enqueues=job.record.enqueues + 1)
            return True

    def claim_refresh(self, jid: str, generation: str, every_s: float) -> bool:
        with self._lock:
            job = self._find(jid, generation)
            if not job or job.record.state is not State.RUNNING:
                return False
            if job.record.logs_at_ms + round(every_s * 1000) > self.now_ms():
                return False
            job.record = replace(job.record, logs_at_ms=self.now_ms())
            return True

    def lead(self, scope: str, token: str, lease_s: float) -> bool:
        with self._lock:
            now = self.now_ms()
            holder, until_ms, since_ms = self._leaders.get(scope, ("", 0, 0))
            if holder not in {"", token} and until_ms > now:
                return False
            self._leaders[scope] = (token, now + round(lease_s * 1000), since_ms if holder == token else now)
            return True

    def resign(self, scope: str, token: str) -> None:
        with self._lock:
            if self._leaders.get(scope, ("", 0, 0))[0] == token:
                del self._leaders[scope]

    def note_absent(self, jid: str, generation: str, scope: str, token: str, listed_at_ms: int) -> tuple[int, int]:
        with self._lock:
            now = self.now_ms()
            job = self._find(jid, generation)
            holder, until_ms, since_ms = self._leaders.get(scope, ("", 0, 0))
            leads = holder == token and until_ms > now and since_ms < listed_at_ms
            if not job or job.record.state not in NATIVE or not leads or job.record.handle_at_ms >= listed_at_ms:
                return 0, 0
            count, absent_since_ms = job.absent, job.absent_since_ms or now
            if absent_since_ms <= since_ms:
                count, absent_since_ms = 0, now
            if job.listed_at_ms < listed_at_ms:
                count += 1
                job.absent, job.absent_since_ms, job.listed_at_ms = count, absent_since_ms, listed_at_ms
            return count, now - absent_since_ms

    def note_present(self, jid: str, generation: str) -> None:
        with self._lock:
            job = self._find(jid, generation)
            if job:
                job.absent = job.absent_since_ms = 0

    def epoch(self, backend: str) -> bool:
        return backend in self._epochs

    def begin_epoch(self, backend: str) -> None:
        with self._lock:
            self._epochs.add(backend)
            waiting = list(self._jids(backend, WAITING))
            latest_ms = max((job.due_ms for job in waiting), default=0)
            for job in waiting:
                job.due_ms -= latest_ms  # long past, and in the same order

    # What workers say of themselves

    def publish(self, report: BackendReport) -> None:
        self._reports[report.name] = replace(report, reported_at_ms=self.now_ms())

    def report(self, backend: str) -> BackendReport | None:
        return self._reports.get(backend)
