"""Pulls of images in memory: a part of :class:`pman_core.store.memory.MemoryStore`, the twin of ``lua/pull_*.lua``."""

from collections.abc import Sequence
from dataclasses import replace

from pman_core.job import JobRecord
from pman_core.states import State
from pman_core.store.memory_tables import Image, Job, MemoryTables
from pman_core.store.pulls import Joined, Pull, Waiter
from pman_core.store.wire import clip_message


class MemoryPulls(MemoryTables):
    """See :class:`pman_core.store.pulls.Pulls` for what each method promises."""

    def _image(self, backend: str, image: str) -> Image:
        return self._images.setdefault((backend, image), Image())

    def _wanting(self, jid: str, generation: str) -> Job | None:
        """Return the job if it waits for its image."""
        job = self._find(jid, generation)
        return job if job and job.record.state is State.QUEUED and not job.record.image_at_ms else None

    def _waiting(self, image: Image) -> list[tuple[Waiter, Job]]:
        found = [(Waiter(*pair), self._wanting(*pair)) for pair in image.waiters.items()]
        return [(waiter, job) for waiter, job in found if job]

    def _fetched(self, job: Job) -> None:
        job.due_ms = self.now_ms() + self._policy.requeue_ms
        job.record = replace(job.record, image_at_ms=self.now_ms(), message="", next_attempt_at_ms=0)

    def _put_off(self, job: Job, until_ms: int, message: str) -> None:
        job.due_ms = until_ms
        job.record = replace(
            job.record, next_attempt_at_ms=until_ms, message=clip_message(message) or job.record.message
        )

    def _waits_for(self, record: JobRecord, token: str) -> bool:
        """Whether a pull may speak for this record."""
        image = self._image(record.backend, record.image)
        waits = image.token == token and image.waiters.get(record.jid) == record.generation
        return waits and record.state is State.QUEUED

    def join_pull(self, pull: Pull, jid: str, generation: str, lease_s: float) -> Joined:
        with self._lock:
            image = self._image(pull.backend, pull.image)
            job = self._wanting(jid, generation)
            if not job:
                return Joined.GONE
            if image.fetched_ms > job.record.lease_until_ms:
                self._fetched(job)
                return Joined.READY
            image.waiters[jid] = generation
            if image.token not in {"", pull.token} and image.until_ms > self.now_ms():
                return Joined.WAITS
            image.token, image.until_ms = pull.token, self.now_ms() + round(lease_s * 1000)
            return Joined.HOLDS

    def tell_pull(self, pull: Pull, message: str, lease_s: float) -> Sequence[Waiter] | None:
        with self._lock:
            image = self._image(pull.backend, pull.image)
            if image.token != pull.token:
                return None
            image.until_ms = self.now_ms() + round(lease_s * 1000)
            waiting = self._waiting(image)
            for _, job in waiting:
                self._put_off(job, image.until_ms, message)
            image.waiters = dict(waiter for waiter, _ in waiting)
            return [waiter for waiter, _ in waiting]

    def end_pull(self, pull: Pull, *, fetched: bool, delay_s: float = 0.0, message: str = "") -> Sequence[Waiter]:
        with self._lock:
            image = self._image(pull.backend, pull.image)
            is_ours = image.token == pull.token
            if not is_ours and not fetched:
                return []
            if is_ours:
                image.token = ""
            if fetched:
                image.fetched_ms = self.now_ms()
            waiting = self._waiting(image)
            image.waiters = {}
            for _, job in waiting:
                if fetched:
                    self._fetched(job)
                    continue
                self._put_off(job, self.now_ms() + round(delay_s * 1000), message)
                if message:
                    job.record = replace(job.record, retries=job.record.retries + 1)
            return [waiter for waiter, _ in waiting]
