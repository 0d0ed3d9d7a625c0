"""A scheduler that runs nothing: the test double for faults and for speed. ``CONTAINER_ENV=mock``, never in production.

In the manner of Nomad's mock driver (https://github.com/hashicorp/nomad/tree/main/drivers/mock), the environment of a
job says how it behaves: see :mod:`backends._mock_script`. Without any such variable it succeeds at once. The scheduler
is a folder that any number of processes share (:mod:`backends._mock_folder`); ``Folder.faults`` breaks it as a whole
and ``Folder.runs`` tells how often each job was really started. Images are there unless :mod:`backends._mock_images`
is told otherwise.

The four programs it knows, so that the contract suite can see what arrives, act when the job is submitted:

* ``mock-dump`` writes argv and environment to ``dump.json`` in the output folder;
* ``mock-copy`` copies the files of the input folder to the output folder;
* ``mock-trace`` appends a line to ``begins`` in the output folder: what an audit counts;
* any other does nothing.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from pydantic_settings import BaseSettings, SettingsConfigDict

from backends._mock_events import Agenda, Cursor
from backends._mock_folder import End, Folder, Job, Start
from backends._mock_images import Images
from backends._mock_script import (
    AFTER,
    HALF_WAY,
    ON_REQUEST,
    Plan,
    Script,
    SubmitError,
    condition_at,
    parse_script,
)
from pman_core.backend import (
    Absent,
    Backend,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
    WatchEvent,
)
from pman_core.errors import BackendError, Conflict, ImageMissing, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.states import TERMINAL, Reason, State

HANDLE_VERSION = 1
TICK_S = 0.02
SIGN_OF_LIFE_S = 0.2


class MockSettings(BaseSettings):
    """The mock's own settings."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    mock_dir: Path | None = None


class MockBackend(Backend):
    """See the text of the module."""

    name = "mock"
    Settings = MockSettings
    capabilities = Capabilities(sets_user=False, watches=True)

    def __init__(self, common: CommonSettings, own: MockSettings) -> None:
        super().__init__(common, own)
        self._folder = Folder(own.mock_dir or Path())
        self._images = Images(self._folder)
        self._is_set = own.mock_dir is not None
        self.clock: Callable[[], float] = time.time
        """Seconds since the epoch; a test may set its own."""

    def open(self) -> None:
        if not self._is_set:
            raise Rejected("MOCK_DIR is required: the folder that all processes share as their scheduler")
        if self.common.container_user is not None:
            raise Rejected("CONTAINER_USER cannot be honoured: the mock runs nothing, as nobody")
        try:
            self._folder.prepare()
        except OSError as error:
            raise Unavailable(f"no scheduler at {self._folder.path}: {error.strerror}") from None

    def submit(self, spec: JobSpec) -> Handle:
        self._reach()
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        script = parse_script(spec.env)
        self._block(script)
        error = self._submit_error(script, spec)
        if error and error not in AFTER | HALF_WAY:
            _strike(error)
        if self._images.is_missing(spec.request.image):
            raise ImageMissing(spec.request.image)
        if self._make(spec, script, is_started=error not in HALF_WAY):
            self._run(spec)
        if error:
            _strike(error)
        return _handle(spec.generation)

    @property
    def pulls_first(self) -> bool:
        return self._images.pulls_first

    def pull(self, image: str, tell: Callable[[str], None]) -> None:
        self._reach()
        self._images.pull(image, tell)

    def _make(self, spec: JobSpec, script: Script, *, is_started: bool) -> bool:
        """Put the job there, or adopt and start what is there of it. Return whether it begins with this call."""
        job = Job(
            jid=spec.jid,
            generation=spec.generation,
            instance=spec.instance,
            digest=spec.request.digest,
            spec_json=spec.to_json(),
            script=script,
            submitted_at_s=self.clock(),
            time_limit_s=self.common.time_limit_s(spec.request.time_limit_minutes),
            is_started=is_started,
        )
        if not self._folder.claim(job):
            found = self._adopt(job)
            is_ours_to_start = is_started and not found.is_started
            if not is_ours_to_start or not self._folder.start(job.generation, Start(started_at_s=job.submitted_at_s)):
                return False
        if is_started:
            self._folder.note("submit", job, Plan(script, job.submitted_at_s, job.time_limit_s).changes_at_s)
        return is_started

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        self._reach()
        return {(ref.jid, ref.generation): self._sight(ref) for ref in refs}

    def owned(self) -> Iterator[Owned]:
        self._reach()
        for generation in self._folder.generations():
            found = self._present(generation)
            if found and found[0].instance == self.common.pman_instance:
                yield Owned(_observed(*found, self.clock()), _spec_or_none(found[0].spec_json))

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        self._reach()
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable(f"the handle of {ref.jid} was written by a newer release")
        found = self._present(ref.generation)
        if found is None or found[0].jid != ref.jid:
            return ""
        job, plan = found
        if job.script.logs_unavailable:
            raise Unavailable("the script says that the log cannot be read")
        if condition_at(plan, self.clock()).started_at_s is None:
            return ""
        return tail(job.script.output, tail_lines, max_bytes)

    def end(self, jid: str, generation: str) -> None:
        found = self._to_remove(jid, generation)
        if found is None:
            return
        if condition_at(found[1], self.clock()).state is State.QUEUED:
            self._folder.forget(generation)
        else:
            self._end(*found, gone_after_s=None)

    def remove(self, jid: str, generation: str) -> bool:
        found = self._to_remove(jid, generation)
        if found is None:
            return True
        job, plan = found
        if job.script.remove_linger_s:
            self._end(job, plan, gone_after_s=job.script.remove_linger_s)
            return False
        self._folder.forget(generation)
        self._folder.note("remove", job, [])
        return True

    def _to_remove(self, jid: str, generation: str) -> tuple[Job, Plan] | None:
        self._reach()
        found = self._present(generation)
        if found is None or found[0].jid != jid:
            return None
        times = found[0].script.remove_error_times
        if times and self._folder.attempt(f"{generation}.remove") <= times:
            raise Unavailable("the script says that remove fails")
        return found

    def _end(
        self,
        job: Job,
        plan: Plan,
        gone_after_s: float | None,
        reason: Reason = Reason.CANCELLED,
        message: str = ON_REQUEST,
    ) -> None:
        now_s = self.clock()
        gone_at_s = None if gone_after_s is None else now_s + gone_after_s
        end = End(ended_at_s=now_s, reason=reason, message=message, gone_at_s=gone_at_s)
        self._folder.end(job.generation, end)
        if now_s < plan.finishes_at_s:
            self._folder.note("end", job, [now_s])

    def health(self) -> Health:
        try:
            self._reach()
        except BackendError as error:
            return Health(ok=False, message=str(error))
        return Health(ok=True)

    def cursor(self) -> str:
        self._reach()
        return str(Cursor(self._folder.journal.stat().st_size, self.clock()))

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        self._reach()
        try:
            resume = Cursor.parse(cursor)
        except ValueError:
            raise Unavailable(f"not a cursor of this scheduler: {cursor!r}") from None
        if resume.offset > self._folder.journal.stat().st_size:
            raise Unavailable("the cursor is from another life of this scheduler")
        agenda = Agenda(resume, self.common.pman_instance)
        last_s = time.monotonic()
        with self._folder.journal.open("rb") as journal:
            while not stop.is_set():
                journal.seek(agenda.offset)
                agenda.read(journal.read())
                faults = self._folder.faults
                if faults.down:
                    raise Unavailable("the stream broke")
                for change, resume_at in agenda.take(self.clock(), faults):
                    if stop.is_set():
                        return
                    if event := self._event(*change, resume_at):
                        last_s = time.monotonic()
                        yield event
                if time.monotonic() - last_s >= SIGN_OF_LIFE_S:
                    last_s = time.monotonic()
                    yield WatchEvent(str(agenda.cursor), None)
                stop.wait(TICK_S)

    def _reach(self) -> None:
        """Every call begins here: with the faults of the whole scheduler."""
        if not self._folder.is_there:
            raise Unavailable(f"no scheduler at {self._folder.path}")
        faults = self._folder.faults
        if faults.slow_s:  # even a sleep of no time gives the processor away
            time.sleep(faults.slow_s)
        if faults.down:
            raise Unavailable("the scheduler is down")
        if faults.error_share and self._folder.is_hit(faults.error_share):
            if faults.error == "unparseable":
                raise Unparseable("the scheduler answers nonsense", raw="<html>Bad Gateway</html>")
            raise Unavailable("the scheduler answers with an error")

    def _block(self, script: Script) -> None:
        if script.submit_block_for_s:
            time.sleep(min(script.submit_block_for_s, self.submit_timeout_s))
        if script.submit_block_for_s > self.submit_timeout_s:
            raise Unavailable(f"no answer within {self.submit_timeout_s:g} s")

    def _submit_error(self, script: Script, spec: JobSpec) -> SubmitError | None:
        if script.submit_error is None or script.submit_error_times is None:
            return script.submit_error
        attempt = self._folder.attempt(f"{spec.generation}.submit")
        return script.submit_error if attempt <= script.submit_error_times else None

    def _run(self, spec: JobSpec) -> None:
        base = self.common.storebase
        if base is None:
            return
        output = base / spec.request.output_dir
        if spec.argv[0] == "mock-dump":
            (output / "dump.json").write_text(json.dumps({"argv": spec.argv, "env": spec.env}))
        if spec.argv[0] == "mock-trace":
            with (output / "begins").open("a") as begins:
                begins.write(f"{spec.generation}\n")
        if spec.argv[0] == "mock-copy":
            shutil.copytree(base / spec.request.input_dir, output, dirs_exist_ok=True)

    def _adopt(self, job: Job) -> Job:
        """Return what holds the name, if it is this very job. One that vanished keeps it: nothing runs twice."""
        found = self._folder.load(job.generation)
        if found is None:
            raise Unavailable(f"{job.jid} was removed just now")
        if (found[0].jid, found[0].instance, found[0].digest) != (job.jid, job.instance, job.digest):
            raise Conflict(f"generation {job.generation} is held by another job")
        return found[0]

    def _present(self, generation: str) -> tuple[Job, Plan] | None:
        found = self._folder.load(generation)
        return None if found is None or found[1].is_gone(self.clock()) else found

    def _sight(self, ref: JobRef) -> Sighting:
        if ref.is_newer_than(HANDLE_VERSION):
            return Unknown("the handle was written by a newer release")
        try:
            found = self._present(ref.generation)
        except Unparseable as error:
            return Unknown(str(error))
        if found is None or found[0].jid != ref.jid:
            return Absent()
        return _observed(*found, self.clock())

    def _event(self, at_s: float, generation: str, cursor: str) -> WatchEvent | None:
        """Return what there was to see at that time, unless the job is gone by now."""
        found = self._present(generation)
        if found is None or found[1].is_gone(at_s):
            return None
        return WatchEvent(cursor, _observed(*found, at_s))


def _handle(generation: str) -> Handle:
    return Handle(HANDLE_VERSION, {"id": generation})


def _observed(job: Job, plan: Plan, now_s: float) -> Observed:
    condition = condition_at(plan, now_s)
    return Observed(
        jid=job.jid,
        generation=job.generation,
        digest=job.digest,
        state=condition.state,
        handle=_handle(job.generation),
        native_state="exited" if condition.state in TERMINAL else condition.state.lower(),
        message=condition.message,
        reason=condition.reason,
        exit_code=condition.exit_code,
        started_at=_utc(condition.started_at_s),
        finished_at=_utc(condition.finished_at_s),
    )


def _utc(time_s: float | None) -> datetime | None:
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC)


def _spec_or_none(text: str) -> JobSpec | None:
    try:
        return JobSpec.from_json(text)
    except ValueError:
        return None


def _strike(error: SubmitError) -> NoReturn:
    """Do to the caller what the script asks for."""
    match error:
        case SubmitError.REJECTED:
            raise Rejected("the script says that this is rejected")
        case SubmitError.CONFLICT:
            raise Conflict("the script says that the name is taken")
        case SubmitError.UNPARSEABLE:
            raise Unparseable("the script says that the answer is nonsense", raw="\x00nonsense")
        case SubmitError.CRASH | SubmitError.CRASH_HALF_WAY | SubmitError.CRASH_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
    raise Unavailable("the script says that the scheduler is away")
