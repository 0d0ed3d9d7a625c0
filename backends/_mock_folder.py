"""The folder that is the mock's scheduler: what all processes over it share. Only :mod:`backends.mock` imports this.

::

    jobs/<generation>       one job; made whole in one step, so that of many submitters one wins
    starts/<generation>     when a job was started that an interrupted submit had left; made like the job
    ends/<generation>       when somebody ended the job
    attempts/<name>         as many bytes as there were attempts
    journal                 one line for each thing done, the scheduler's own view: what the audits count
    faults.json             what is wrong with the whole scheduler just now (see Faults)

Everything is one small system call or two; there is no lock and no process.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import get_native_id
from typing import Literal
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends._mock_script import NOT_STARTED, ON_REQUEST, Plan, Script
from pman_core.errors import Unparseable
from pman_core.states import Reason


class Faults(BaseModel):
    """What is wrong with the scheduler as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    down: bool = False
    """Every call is ``Unavailable``, and streams break."""
    slow_s: float = 0.0
    """Every call takes so long."""
    error_share: float = Field(0.0, ge=0, le=1)
    """This share of all calls is answered with an error. Which ones depends on their number only."""
    error: Literal["unavailable", "unparseable"] = "unavailable"
    lose_events: bool = False
    """The stream is silent about what happens."""
    late_events_s: float = Field(0.0, ge=0)
    """The stream tells everything so late."""
    repeat_events: bool = False
    """The stream tells everything twice."""
    reorder_events: bool = False
    """The stream tells what happens within half a second backwards, at its end."""


class Job(BaseModel):
    """A job as it lies in the folder. Never changed once it is there."""

    model_config = ConfigDict(frozen=True)

    jid: str
    generation: str
    instance: str
    digest: str
    spec_json: str
    script: Script
    submitted_at_s: float
    time_limit_s: float | None
    is_started: bool = True
    """``False``: its submit was interrupted, and it waits for another one."""

    def plan(self, start: "Start", end: "End") -> Plan:
        submitted_at_s = self.submitted_at_s if self.is_started else start.started_at_s
        return Plan(
            self.script,
            submitted_at_s,
            self.time_limit_s,
            ended_at_s=end.ended_at_s,
            end_reason=end.reason,
            end_message=end.message,
            gone_at_s=end.gone_at_s,
        )


class Start(BaseModel):
    """When a job was brought on that had not been started."""

    model_config = ConfigDict(frozen=True)

    started_at_s: float = NOT_STARTED


class End(BaseModel):
    """What a removal left behind."""

    model_config = ConfigDict(frozen=True)

    ended_at_s: float | None = None
    reason: Reason = Reason.CANCELLED
    message: str = ON_REQUEST
    gone_at_s: float | None = None


NO_END, NO_FAULTS = End(), Faults()
KNOWN_MIN = 100
"""So many jobs are remembered before any is looked for: what is in their files does not change, but files go."""

_DRAFTS = count()


class Folder:
    """One scheduler. Any number of these objects, in any number of processes, may stand for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal"
        self._jobs = os.path.join(path, "jobs", "")  # noqa: PTH118 - see _job
        self._ends = os.path.join(path, "ends", "")  # noqa: PTH118
        self._drafts = os.path.join(path, ".draft-")  # noqa: PTH118
        self._faults = os.path.join(path, "faults.json")  # noqa: PTH118
        self._known: dict[str, tuple[tuple[int, int], Job]] = {}
        self._known_max = KNOWN_MIN

    def prepare(self) -> None:
        """Make what belongs into the folder; the folder itself must be there."""
        for name in ("jobs", "starts", "ends", "attempts"):
            (self.path / name).mkdir(exist_ok=True)
        self.journal.touch()

    @property
    def is_there(self) -> bool:
        return self.journal.exists()

    def claim(self, job: Job) -> bool:
        """Put ``job`` there unless its generation is; return whether it was put."""
        return self._write_whole(f"{self._jobs}{job.generation}", job, replace=False)

    def load(self, generation: str) -> tuple[Job, Plan] | None:
        """Return the job and its life, or ``None`` if there is none.

        Raises:
            Unparseable: the file holds something else.
        """
        job = self._job(generation)
        if job is None:
            return None
        start = Start() if job.is_started else self._start(generation)
        return job, job.plan(start, self._end(generation))

    def _job(self, generation: str) -> Job | None:
        path = f"{self._jobs}{generation}"
        try:
            # Strings, and a look instead of a read: a sweep asks ten thousand times.
            found = os.stat(path)  # noqa: PTH116
            mark = (found.st_ino, found.st_mtime_ns)
            if (known := self._known.get(generation)) and known[0] == mark:
                return known[1]
            text = Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            job = Job.model_validate_json(text)
        except ValidationError as error:
            raise Unparseable(f"not a job: {error}", raw=text.decode(errors="replace")) from None
        if len(self._known) >= self._known_max:
            self._forget_what_is_gone()
        self._known[generation] = (mark, job)
        return job

    def _forget_what_is_gone(self) -> None:
        """Keep the memory of this process at twice what is there: whoever removes a job tells nobody."""
        there = set(self.generations())
        self._known = {generation: job for generation, job in list(self._known.items()) if generation in there}
        self._known_max = max(KNOWN_MIN, 2 * len(self._known))

    def generations(self) -> Iterator[str]:
        with os.scandir(self.path / "jobs") as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.name

    def start(self, generation: str, start: Start) -> bool:
        """Note that a job was brought on; return whether it was this call that did it."""
        return self._write_whole(str(self.path / "starts" / generation), start, replace=False)

    def end(self, generation: str, end: End) -> None:
        """Note that the job was told to end; the first time counts."""
        before = self._end(generation)
        is_first = before.ended_at_s is None
        first = end if is_first else before.model_copy(update={"gone_at_s": end.gone_at_s})
        self._write_whole(f"{self._ends}{generation}", first, replace=True)
        if not os.path.exists(f"{self._jobs}{generation}"):  # noqa: PTH110
            # Another worker has removed it meanwhile, and what it has left would stay for ever.
            (self.path / "ends" / generation).unlink(missing_ok=True)

    def forget(self, generation: str) -> None:
        """Remove the job and all that belongs to it."""
        self._known.pop(generation, None)
        for name in ("jobs", "starts", "ends"):
            (self.path / name / generation).unlink(missing_ok=True)

    def attempt(self, name: str) -> int:
        """Count one more attempt at ``name`` and return its number, from 1, different for each of many callers."""
        fd = os.open(self.path / "attempts" / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(fd, b".")
            return os.lseek(fd, 0, os.SEEK_CUR)
        finally:
            os.close(fd)

    def is_hit(self, share: float) -> bool:
        """Count one more call and return whether it is one of that share; the same numbers in every run."""
        return crc32(b"%d" % self.attempt("calls")) < share * 2**32

    def note(self, event: str, job: Job, changes_at_s: list[float]) -> None:
        """Append one line to the journal; a single write never mixes with another process's."""
        entry = {"event": event, "id": job.generation, "jid": job.jid, "instance": job.instance, "at_s": changes_at_s}
        fd = os.open(self.journal, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, json.dumps(entry).encode() + b"\n")
        finally:
            os.close(fd)

    def runs(self) -> Counter[tuple[str, str]]:
        """Count the executions of each job, by jid and generation. For audits: it asks the journal, not the jobs."""
        entries = map(json.loads, self.journal.read_text().splitlines())
        return Counter((entry["jid"], entry["id"]) for entry in entries if entry["event"] == "submit")

    @property
    def faults(self) -> Faults:
        if not os.path.exists(self._faults):  # noqa: PTH110
            return NO_FAULTS
        return Faults.model_validate_json(Path(self._faults).read_bytes())

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._write_whole(self._faults, faults, replace=True)

    def _start(self, generation: str) -> Start:
        with suppress(FileNotFoundError):
            return Start.model_validate_json((self.path / "starts" / generation).read_bytes())
        return Start()

    def _end(self, generation: str) -> End:
        path = f"{self._ends}{generation}"
        if os.path.exists(path):  # noqa: PTH110 - as above, and few have an end
            with suppress(FileNotFoundError):
                return End.model_validate_json(Path(path).read_bytes())
        return NO_END

    def _write_whole(self, path: str, content: BaseModel, *, replace: bool) -> bool:
        """Write a file that nobody ever sees half of; return False if it is there and must not be replaced."""
        # Unique without asking the disk: this process, this thread, the next number.
        draft = f"{self._drafts}{os.getpid()}-{get_native_id()}-{next(_DRAFTS)}"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, content.model_dump_json().encode())
            if replace:
                os.replace(draft, path)  # noqa: PTH105
                return True
            os.link(draft, path)
        except FileExistsError:
            is_new = False
        else:
            is_new = True
        finally:
            os.close(fd)
        os.unlink(draft)  # noqa: PTH108
        return is_new
