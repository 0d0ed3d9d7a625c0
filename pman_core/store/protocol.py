"""What the store of job records promises, whoever keeps it. ``tests/contract/test_store*.py`` are this text as tests.

The store is the truth for readers. Every method is atomic; every time is on the store's own clock, so that a
host with a wrong clock can do no harm. Every method raises ``StoreUnavailable`` when the store does not answer in
time, and then nothing may be concluded about what it did.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pman_core.job import JobRecord, JobSpec
from pman_core.queues import Message
from pman_core.request import JobRequest
from pman_core.states import State
from pman_core.store.pulls import Pulls

LOG_BYTES_MAX = 64 * 1024
MESSAGE_CHARS_MAX = 2000

Announce = Callable[[str, str], Message | None]
"""From jid and generation to the message that tells of the new job."""


class Created(StrEnum):
    """How a POST ended."""

    NEW = "new"
    SAME = "same"  # the same jid with the same digest is there already
    OTHER = "other"  # the same jid with another digest


@dataclass(frozen=True, slots=True)
class Creation:
    outcome: Created
    record: JobRecord


class Moved(StrEnum):
    """How :meth:`Store.advance` ended. Only ``OK`` changed anything."""

    OK = "ok"
    NO_RECORD = "no-record"  # never there, deleted, or expired
    OTHER_GENERATION = "other-generation"
    FORBIDDEN = "forbidden"  # no such edge: the record is already past it
    STALE = "stale"  # the submit lease is not ours any more
    LEASED = "leased"  # another worker holds the submit lease
    EARLY = "early"  # next_attempt_at is still to come
    BLOCKED = "blocked"  # an earlier generation of this jid is not verified gone yet
    SWEEPING = "sweeping"  # the store is new or was wiped: no submit before a complete sweep
    EXHAUSTED = "exhausted"  # as many attempts as are allowed have begun


@dataclass(frozen=True, slots=True)
class Change:
    """One move of one job. Fields that are ``None`` or empty stay as they are."""

    jid: str
    generation: str
    state: State
    token: str = ""
    """The submit lease. Asked for by SUBMITTING; to QUEUED, and from the submitter to anything, it must be held."""
    host: str = ""
    """Where the job is (with SUBMITTING: where its submitter is), if the backend's scope is the host."""
    message: str | None = None
    reason: str = ""
    native_state: str = ""
    handle_json: str = ""
    exit_code: int | None = None
    started_at_ms: int = 0
    finished_at_ms: int = 0
    logs: str | None = None
    logs_missing: bool = False
    """With a terminal state: the logs could not be read; :meth:`Store.fill_logs` may add them once."""
    only_if_absent: bool = False
    """With LOST: refused (STALE) if the job has been seen since its absences were counted."""
    delay_s: float = 0.0
    """With QUEUED: time until the next attempt."""
    uncounted: bool = False
    """With QUEUED: the attempt that ends here does not count (``Unavailable`` never ends a job)."""
    image_missing: bool = False
    """With QUEUED: the image must be pulled (again), see :mod:`pman_core.store.pulls`."""
    pull: str = ""
    """The token of a pull that ends the job; refused (STALE) unless it holds its lease and the job waits for it."""


@dataclass(frozen=True, slots=True)
class Obligation:
    """A native object that must be verified gone: of a deleted job, or of a LOST one."""

    jid: str
    generation: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What an accepted DELETE found. ``obligation`` is ``None`` when nothing is left to remove."""

    obligation: Obligation | None
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """How a claim of the submit lease ended; with ``Moved.OK`` the record as it is now."""

    moved: Moved
    record: JobRecord | None = None


class Adopted(StrEnum):
    """What :meth:`Store.adopt` decided about a native object that carries our instance."""

    KNOWN = "known"  # the record of this generation is there
    TAKEN_OVER = "taken-over"  # a waiting record of the same jid and digest became this generation
    CREATED = "created"  # no record was there: rebuilt from what the object carries
    REMOVE = "remove"  # deleted, or a double: an obligation to remove it was written
    HOLDS_BACK = "holds-back"  # another job of this jid waits until the object is gone
    KEPT = "kept"  # deleted and ended, and its fence (or REMOVE_JOBS=no) lets it stay


@dataclass(frozen=True, slots=True)
class Standing:
    """What still speaks against forgetting the native object of a deleted job."""

    is_leased: bool
    """A submitter may be at work: the object may still appear."""
    is_fenced: bool
    """A submitter that lost its lease may be asleep: the object, once ended, must keep its name taken. Where there is
    none, none may be concluded to be gone: it may still appear."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list of jobs, newest first. ``cursor`` is empty on the last page."""

    records: Sequence[JobRecord]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What workers have published about a backend."""

    name: str
    capabilities: Mapping[str, object] = field(default_factory=dict)
    ok: bool = True
    message: str = ""
    reported_at_ms: int = 0


class Store(Pulls, Protocol):
    """Records, indexes, leases and obligations of one instance."""

    instance: str

    def ping(self) -> None:
        """Raise ``StoreUnavailable`` if the store cannot be written."""

    def now_ms(self) -> int:
        """The store's clock."""

    # The life of a job

    def create(self, request: JobRequest, backend: str, announce: Announce | None = None) -> Creation:
        """Look up, compare and create in one step; a new record is QUEUED and has a new generation.

        What ``announce`` returns for jid and generation is enqueued in the same step, if the record is new.
        """

    def get(self, jid: str) -> JobRecord | None:
        """The whole record."""

    def read(self, jid: str) -> JobRecord | None:
        """The record without ``request_json`` and ``handle_json``: all that a reader is shown, in one small call."""

    def get_many(self, jids: Sequence[str]) -> list[JobRecord | None]:
        """Whole records without their logs, in few round trips."""

    def advance(self, change: Change) -> Moved:
        """THE compare-and-set: the only way in which a state changes."""

    def claim(self, jid: str, generation: str, token: str, host: str) -> Claim:
        """:meth:`advance` to SUBMITTING; if it is granted, with the whole record, in one round trip."""

    def advance_many(self, changes: Sequence[Change]) -> list[Moved]:
        """:meth:`advance`, each change for itself, in few round trips; an error may come after some were made."""

    def fill_logs(self, jid: str, generation: str, logs: str, *, only_running: bool = False) -> bool:
        """Write the log of a RUNNING job, or once of a terminal one that ended with ``logs_missing``."""

    def delete(self, jid: str, claim_s: float = 0) -> Deletion:
        """Hide the record at once and leave a tombstone; a known job also leaves an obligation.

        For ``claim_s`` the obligation is the caller's, to be enqueued; only then it is due.
        """

    def expire(self, jid: str, generation: str) -> bool:
        """Drop a terminal record whose native object is gone; the tombstone stops a late re-adoption."""

    def adopt(self, spec: JobSpec, backend: str, host: str, *, is_terminal: bool) -> Adopted:
        """Settle what a native object found by a sweep means; see :class:`Adopted`."""

    # Obligations

    def obligations(self, backend: str, limit: int) -> list[Obligation]:
        """Those that are due, oldest first."""

    def postpone(self, backend: str, obligation: Obligation, delay_s: float) -> None:
        """Try this one again later."""

    def settle(self, backend: str, obligation: Obligation) -> bool:
        """Write down that the object was looked for and is gone, or has ended behind its fence.

        ``False`` and no change while a submit lease of that generation is live. While the fence stands, the jid is
        free again but the obligation stays, due when the fence falls.
        """

    def standing(self, jid: str, generation: str) -> Standing:
        """Ask before looking for the object: what is true now stays true for the look-up that follows."""

    def release(self, jid: str, generation: str) -> bool:
        """Drop the submit lease that a tombstone holds: its submitter has finished.

        ``True`` too if the tombstone is settled already (a slow submitter): what it made must be removed all the same.
        ``False``: no tombstone covers this generation, or it has its record, so nobody has asked for its deletion.
        """

    def unsettled(self, jid: str) -> list[str]:
        """The earlier generations of ``jid`` that are not verified gone: while there are any, no other is submitted."""

    # Lists

    def running(self, backend: str) -> list[str]:
        """The jids in PENDING or RUNNING."""

    def due(self, backend: str, limit: int) -> list[str]:
        """The waiting jids whose time to be enqueued (again) has come."""

    def ended_before(self, backend: str, finished_before_ms: int, limit: int) -> list[str]:
        """Terminal jids by age."""

    def counts(self, backend: str) -> Mapping[str, int]:
        """The number of ``waiting``, ``running`` and ``terminal`` records and of ``obligations``."""

    def page(self, cursor: str, limit: int) -> Page:
        """All jobs of the instance, newest first, without logs. A jid never appears twice."""

    # Claims and leases

    def claim_enqueue(self, jid: str, generation: str, delay_s: float) -> bool:
        """Claim the right to enqueue a due job; it is due again after ``delay_s``."""

    def claim_refresh(self, jid: str, generation: str, every_s: float) -> bool:
        """Claim the right to read the log of a running job: granted once per ``every_s``."""

    def lead(self, scope: str, token: str, lease_s: float) -> bool:
        """Take or renew the leader lease of ``scope``."""

    def resign(self, scope: str, token: str) -> None:
        """Give the leader lease back, if it is ours."""

    def note_absent(self, jid: str, generation: str, scope: str, token: str, listed_at_ms: int) -> tuple[int, int]:
        """Count one complete listing without the job, once. Returns the count and for how many ms it has been absent.

        ``(0, 0)`` and nothing counted if the caller does not lead ``scope``, if the listing began before it led or
        before the handle was stored, or if the job is not PENDING or RUNNING. An observation by :meth:`advance` resets
        the count, and so does another leader.
        """

    def note_present(self, jid: str, generation: str) -> None:
        """Forget earlier absences: the scheduler has shown the job again, unchanged."""

    def epoch(self, backend: str) -> bool:
        """Whether a complete sweep has been done since the store was new."""

    def begin_epoch(self, backend: str) -> None:
        """Write down that it has: submits may begin, and all that waits is due at once, the oldest first."""

    # What workers say of themselves

    def publish(self, report: BackendReport) -> None: ...

    def report(self, backend: str) -> BackendReport | None: ...

    def active(self, backend: str) -> Iterator[str]:
        """Every jid that is not terminal."""
