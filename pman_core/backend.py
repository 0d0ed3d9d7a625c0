"""THE BACKEND CONTRACT: what a scheduler must look like to pman.

A backend talks to one scheduler and to nothing else: it knows no Redis, no Celery, no HTTP status of ours and reads
no environment variable. ``tests/contract/`` is this text as tests; every backend passes the same suite.

What every backend guarantees:

* ``submit`` is idempotent by generation: called twice, even from two hosts at once, the argv runs at most once.
* Every native object carries jid, generation, instance, digest and the spec itself, so that ``owned`` can rebuild
  the records after Redis has lost them.
* argv and environment arrive verbatim; no shell is anywhere in between.
* A limit is a limit; what a backend cannot honour is declared in its capabilities and refused, never ignored.
* A call either answers within its time-out or raises ``Unavailable``. A failed question is never an answer.
"""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel

from pman_core.errors import Fault
from pman_core.job import JobSpec
from pman_core.request import JobRequest
from pman_core.states import Reason, State

if TYPE_CHECKING:
    from pman_core.settings import Settings as CommonSettings


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do, as plain data. Workers publish it; the API refuses what it rules out.

    The defaults describe a container engine without GPUs on one machine.
    """

    scope: Literal["cluster", "host"] = "cluster"
    """``host``: a job can only be asked for and ended on the host it runs on."""
    any_image: bool = True
    """``False``: an image is refused, because the backend runs host commands and was not told to ignore it."""
    any_image_hint: str = ""
    """Why ``any_image`` is false, and the setting that changes it."""
    number_of_workers_max: int | None = 1
    """``None``: as many as the scheduler grants."""
    gpus: bool = False
    cpu_unit: Literal["millicore", "core"] = "millicore"
    """``core``: ``cpu_limit`` is rounded up to whole cores."""
    memory_scope: Literal["job", "process"] = "job"
    """``process``: the limit holds for each process of the job by itself."""
    reports_oom: bool = True
    """The backend can tell that a job ended for want of memory."""
    read_only_incoming: bool = True
    rewrites_paths: bool = False
    """``/share/incoming`` and ``/share/outgoing`` are replaced by host folders in arguments and env values."""
    sets_user: bool = True
    watches: bool = False
    """``watch`` yields changes as they happen; otherwise the observer polls."""
    live_logs: bool = True
    """``logs`` answers for a running job too."""
    ends_overdue: bool = True
    """The scheduler itself ends a job at its time limit; otherwise the observer does, by ``end_overdue``."""
    engine: str = ""
    """What was found behind the backend's name, if that is something else: CONTAINER_ENV=docker may reach Podman."""

    def refusals(self, request: JobRequest) -> list[Fault]:
        """Return every reason for which no job like ``request`` can run here. Pure."""
        faults = []
        if not self.any_image:
            faults.append(Fault("image", self.any_image_hint))
        if self.number_of_workers_max is not None and request.number_of_workers > self.number_of_workers_max:
            faults.append(Fault("number_of_workers", f"must be at most {self.number_of_workers_max} on this backend"))
        if request.gpus and not self.gpus:
            faults.append(Fault("gpu_limit", "must be 0: this backend has no GPUs"))
        return faults

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Capabilities":
        """Rebuild published capabilities; keys of a newer release are left out."""
        known = cls.__dataclass_fields__.keys()
        return cls(**{key: value for key, value in data.items() if key in known})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Handle:
    """How a backend finds its job again. Versioned plain data, stored in the record.

    A backend reads every version it has ever written.
    """

    version: int
    data: Mapping[str, str | int] = field(default_factory=dict)
    host: str = ""
    """Set by backends of scope ``host`` only."""

    def to_json(self) -> str:
        return json.dumps({"v": self.version, "host": self.host, "data": dict(self.data)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Handle":
        raw = json.loads(text)
        return cls(version=raw["v"], data=raw["data"], host=raw["host"])


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job to ask for. Without a handle the backend looks it up by jid and generation."""

    jid: str
    generation: str
    handle: Handle | None = None

    def is_newer_than(self, handle_version: int) -> bool:
        """Whether a newer release has written the handle."""
        return self.handle is not None and self.handle.version > handle_version


@dataclass(frozen=True, slots=True)
class Observed:
    """The scheduler knows the job, and this is how it is. ``state`` is PENDING, RUNNING or terminal, never LOST.

    It is QUEUED for an object that an interrupted ``submit`` has made and that will not run by itself: only another
    ``submit`` of the same generation brings it on.
    """

    jid: str
    generation: str
    digest: str
    state: State
    handle: Handle
    native_state: str = ""
    """The scheduler's own word for it."""
    message: str = ""
    """For people; of a failure it says the cause, because clients cut the log."""
    reason: Reason | None = None
    """Set for FAILED and CANCELLED."""
    exit_code: int | None = None
    """Of the first process; 128 + N when signal N ended it."""
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """The scheduler answered, completely, and does not know the job."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The question could not be answered for this job; nothing may be concluded."""

    why: str = ""


Sighting = Observed | Absent | Unknown


@dataclass(frozen=True, slots=True)
class Owned:
    """A native object of this instance, with the spec it carries (``None``: it carries an unreadable one)."""

    observed: Observed
    spec: JobSpec | None


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change that the scheduler announced. ``observed`` is ``None`` for a mere sign of life."""

    cursor: str
    """Where to resume after this event."""
    observed: Observed | None


@dataclass(frozen=True, slots=True)
class Health:
    ok: bool
    message: str = ""


class Backend(ABC):
    """One scheduler. ``__init__`` stores what it is given and does no I/O; calls may come from several threads."""

    name: ClassVar[str]
    Settings: ClassVar[type[BaseModel]]
    """The backend's own settings: a pydantic-settings class; its names are environment variables in lower case."""
    submit_timeout_s: ClassVar[float] = 30.0
    """``submit`` returns or raises within this time; it must be shorter than the submit lease."""
    poll_s: ClassVar[float] = 2.0
    """How often the observer asks for all jobs at once when there is no watch."""

    capabilities: Capabilities
    """Class data where nothing depends on settings, else set by ``__init__``."""

    def __init__(self, common: "CommonSettings", own: BaseModel) -> None:
        self.common = common
        self.own = own

    def open(self) -> None:
        """Connect. Raises ``Unavailable`` (try again) or ``Rejected`` (this machine can never run the backend)."""

    def close(self) -> None:
        """Release what ``open`` took. Never raises; may be called twice."""

    @abstractmethod
    def submit(self, spec: JobSpec) -> Handle:
        """Hand the job to the scheduler, or adopt it if this generation is there already.

        Raises:
            Rejected: the same spec will always fail here. (A command that is not there may also end the job as
                FAILED with START_FAILED.)
            Unavailable: not now; it may or may not have been done, calling again finds out.
            ImageMissing: the scheduler has not got the image; ``pull`` fetches it, then submit again.
            Conflict: the native name is held by another generation, digest or owner.
            Unparseable: the scheduler answered something unknown.
        """

    @abstractmethod
    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        """Ask for many jobs with one call (or one per page) and answer for every one of them, by jid and generation.

        A handle that a newer release has written is answered with ``Unknown``.

        Raises:
            Unavailable, Unparseable: no answer at all.
        """

    @abstractmethod
    def owned(self) -> Iterator[Owned]:
        """List every native object that carries our instance. If it ends without an error the list was complete."""

    @abstractmethod
    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        """Return the end of stdout and stderr, at most so many lines and bytes of UTF-8; bad input is replaced.

        A job without output (yet) and an unknown job have the log ``""``.

        Raises:
            WrongHost: the log is on another host.
            Unavailable: not readable now, or the handle is of a newer release.
        """

    @abstractmethod
    def end(self, jid: str, generation: str) -> None:
        """End the job at once and keep its native object, which is CANCELLED from then on.

        A job that had ended before keeps its end. The object still holds its name: a late submit adopts it, nothing
        runs again. Of an object that was never started (QUEUED) nothing need be kept. Promptness, unknown jobs and
        errors: see :meth:`remove`.
        """

    @abstractmethod
    def remove(self, jid: str, generation: str) -> bool:
        """End the job at once and remove its native object.

        Promptness: the whole process tree is told to end before this returns. An unknown job is a success, and so is
        a known generation of another jid: nothing is done.

        Returns:
            Whether the scheduler itself has confirmed that nothing of the job is left. If not, the caller verifies
            with :meth:`observe`.

        Raises:
            WrongHost: the job is on another host.
            Unavailable: not now.
        """

    def end_overdue(self, jid: str, generation: str) -> None:  # noqa: ARG002
        """:meth:`end` a job that is past its time limit: its object is FAILED with TIME_LIMIT from then on.

        The message says how long the limit was, the job's own, if the object carries what tells it.

        Only if ``capabilities.ends_overdue`` is false.
        """
        raise TypeError(f"backend {self.name} ends overdue jobs itself")

    @abstractmethod
    def health(self) -> Health:
        """Say whether the scheduler answers. Never raises."""

    @property
    def pull_timeout_s(self) -> float:
        """So long after its POST a job waits for an image whose registry is away; then it has failed."""
        return float("inf")

    @property
    def pulls_first(self) -> bool:
        """Whether ``pull`` must come before every ``submit``, even of an image that is there."""
        return False

    def pull(self, image: str, tell: Callable[[str], None]) -> None:  # noqa: ARG002
        """Fetch ``image``, so that ``submit`` finds it. ``tell`` gets the progress, for people.

        ``tell`` may raise to give the pull up; what it raises comes out of here.

        Raises:
            Rejected: with IMAGE_PULL and the true cause: no such image, no access, no space, too long.
            RegistryAway: the registry cannot be reached now. Said at once: other pulls wait for this thread.
            Unavailable: the scheduler cannot be reached now.
        """
        raise TypeError(f"backend {self.name} does not pull images")

    def cursor(self) -> str:
        """Return the present point of the event stream, taken before a listing. Only if ``capabilities.watches``."""
        raise TypeError(f"backend {self.name} has no event stream")

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:  # noqa: ARG002
        """Yield changes since ``cursor`` until ``stop`` is set or the stream ends (then the caller lists again).

        An iteration blocks for a second or so at most: a quiet stream yields signs of life.

        Raises:
            Unavailable: the stream broke, or the cursor is too old.
        """
        raise TypeError(f"backend {self.name} has no event stream")
