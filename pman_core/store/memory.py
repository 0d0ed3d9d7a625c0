"""The store in one process's memory: the readable twin of the Lua scripts, for tests and for trying things out.

The contract suite holds both to the same promises; where they differ, one of them is wrong. Here is the life of a job;
what is stored is in ``memory_tables.py``, and every other part has a module of its own.
"""

from collections.abc import Sequence
from dataclasses import replace

from pman_core.command import build_cmd
from pman_core.job import JobRecord, JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.states import NATIVE, SOURCES, TERMINAL, WAITING, State
from pman_core.store.memory_leaders import MemoryLeaders
from pman_core.store.memory_lists import MemoryLists
from pman_core.store.memory_obligations import MemoryObligations
from pman_core.store.memory_pulls import MemoryPulls
from pman_core.store.memory_tables import Job, Tomb
from pman_core.store.protocol import (
    Adopted,
    Announce,
    Change,
    Claim,
    Created,
    Creation,
    Deletion,
    Moved,
    Obligation,
)
from pman_core.store.wire import READ_FIELDS, WORK_FIELDS, clean, clip_logs, clip_message, only


class MemoryStore(MemoryPulls, MemoryObligations, MemoryLists, MemoryLeaders):
    """See :class:`pman_core.store.protocol.Store` for what each method promises."""

    def ping(self) -> None:
        """A process's own memory is always there."""

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
        self._jobs[spec.jid] = Job(record, due_ms=now + self._policy.requeue_ms)
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

    def _is_stale(self, job: Job, change: Change) -> bool:
        was_seen_since = change.only_if_absent and not job.absent_since_ms
        return was_seen_since or bool(change.pull and not self._waits_for(job.record, change.pull))

    def claim(self, jid: str, generation: str, token: str, host: str) -> Claim:
        with self._lock:
            moved = self.advance(Change(jid, generation, State.SUBMITTING, token=token, host=host, message=""))
            return Claim(moved, self.get(jid) if moved is Moved.OK else None)

    def _drop_lease(self, job: Job) -> None:
        job.lease = ""
        job.record = replace(job.record, lease_until_ms=0)

    def _take_lease(self, job: Job, change: Change, now: int) -> Moved:
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

    def _requeue(self, job: Job, change: Change, now: int) -> None:
        job.lease = ""
        job.due_ms = now + round(change.delay_s * 1000)
        record = replace(job.record, lease_until_ms=now, next_attempt_at_ms=job.due_ms)
        if change.uncounted:
            record = replace(record, attempts=record.attempts - 1, retries=record.retries + 1)
        job.record = record

    def _move_on(self, job: Job, change: Change, now: int, is_ours: bool) -> None:
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
                tomb = self._tombs.setdefault(change.jid, Tomb())
                tomb.fences[change.generation] = job.fence_until_ms

    def _write(self, job: Job, change: Change) -> None:
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

    def delete(self, jid: str, claim_s: float = 0) -> Deletion:
        with self._lock:
            job = self._jobs.pop(jid, None)
            tomb = self._tombs.setdefault(jid, Tomb())
            if not job:
                tomb.upto = max(tomb.upto, mint_generation())
                return Deletion(None)
            record = job.record
            tomb.upto = max(tomb.upto, record.generation)
            tomb.open[record.generation] = record.lease_until_ms if job.lease else 0
            if job.fence_until_ms > self.now_ms():
                tomb.fences[record.generation] = job.fence_until_ms
            obligation = Obligation(jid, record.generation, record.host)
            self._oblige(record.backend, obligation, self.now_ms() + round(claim_s * 1000))
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
            tomb = self._tombs.setdefault(jid, Tomb())
            tomb.upto = max(tomb.upto, generation)
            return True

    def adopt(self, spec: JobSpec, backend: str, host: str, *, is_terminal: bool) -> Adopted:
        with self._lock:
            job = self._jobs.get(spec.jid)
            tomb = self._tombs.get(spec.jid, Tomb())
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
                tomb = self._tombs.setdefault(spec.jid, Tomb())
                tomb.upto = max(tomb.upto, job.record.generation)
                job.lease = ""
                job.record = replace(
                    job.record, generation=spec.generation, host=host, lease_until_ms=0, next_attempt_at_ms=0
                )
                return Adopted.TAKEN_OVER
            return self._hold(spec, backend, host, must_go=is_terminal)

    def _hold(self, spec: JobSpec, backend: str, host: str, *, must_go: bool) -> Adopted:
        self._tombs.setdefault(spec.jid, Tomb()).open.setdefault(spec.generation, 0)
        if not must_go:
            return Adopted.HOLDS_BACK
        obligation = Obligation(spec.jid, spec.generation, host)
        self._oblige(backend, obligation, self._obligations.get(backend, {}).get(obligation, self.now_ms()))
        return Adopted.REMOVE

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
