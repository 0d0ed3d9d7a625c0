"""Runs jobs as processes of the worker's host, without a container: the embedded default, ``CONTAINER_ENV=process``.

Every job has a supervisor, a small detached process (``_process_supervisor.py``), and a control folder on the store
(``_process_control.py``). So jobs outlive the worker, and whoever comes later reads their truth from the disk and
the kernel. What the kernel is asked is in ``_process_host.py``, what a job is started with in ``_process_launch.py``.

It runs host commands and says so: an image is refused unless PROCESS_ANY_IMAGE=yes accepts that it is not used.

Linux 5.3 or later: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
"""

import json
import os
import platform
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from backends._process_control import LAUNCH, LOG, Control, Reader
from backends._process_host import boot_id, is_alive, kill_leftovers, terminate
from backends._process_launch import (
    Launch,
    build_argv,
    build_env,
    choose_cores,
)
from backends._process_state import HANDLE_VERSION, JobState, handle_of, observed_from
from backends._sizes import check_sizes
from backends._users import HOME_WORKAROUND, choose_user
from pman_core.backend import (
    Absent,
    Backend,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Owned,
    Sighting,
    Unknown,
)
from pman_core.errors import Conflict, Rejected, Unavailable, Unparseable, WrongHost
from pman_core.job import JobSpec
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.storage import resolve_beneath

SUPERVISOR = Path(__file__).with_name("_process_supervisor.py")
CLAIM_TIMEOUT_S = 8.0
END_TIMEOUT_S = 5.0
ANY_IMAGE_HINT = (
    "this backend runs host commands and does not use the image: set PROCESS_ANY_IMAGE=yes on the worker to accept that"
)


class ProcessSettings(BaseSettings):
    """The process backend's own settings."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    process_any_image: bool = False


class ProcessBackend(Backend):
    """See the text of the module."""

    name = "process"
    Settings = ProcessSettings
    submit_timeout_s = CLAIM_TIMEOUT_S + 2
    poll_s = 0.5

    def __init__(self, common: CommonSettings, own: ProcessSettings) -> None:
        super().__init__(common, own)
        self._host = common.pman_hostname
        self._store_base = common.storebase or Path()
        self._control = Control(self._store_base, common.pman_instance)
        self.capabilities = Capabilities(
            scope="host",
            any_image=own.process_any_image,
            any_image_hint="" if own.process_any_image else ANY_IMAGE_HINT,
            cpu_unit="core",
            memory_scope="process",
            reports_oom=False,
            read_only_incoming=False,
            rewrites_paths=True,
            sets_user=os.geteuid() == 0,
        )

    def open(self) -> None:
        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError):
            system = f"{platform.system()} {platform.release()}"
            raise Rejected(f"the process backend needs Linux 5.3 or later, this is {system}") from None
        if self.common.storebase is None:
            raise Rejected("the process backend needs STOREBASE, a folder of this host")
        self._control.create()

    def submit(self, spec: JobSpec) -> Handle:
        if (adopted := self._adopt(spec)) is not None:
            return adopted
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        prepared = self._control.prepare(spec.generation, {LAUNCH: json.dumps(self._launch(spec).to_dict())})
        answer = _start_supervisor(prepared)
        if (adopted := self._adopt(spec)) is not None:
            return adopted
        raise Unavailable(f"no supervisor has claimed the job: {answer}")

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        with self._control.reading() as reader:
            return {(ref.jid, ref.generation): self._sight(reader, ref) for ref in refs}

    def owned(self) -> Iterator[Owned]:
        with self._control.reading() as reader:
            for job in self._control.claims(reader, sweep_before=time.time() - self.common.submit_fence_s):
                if isinstance(job, str):
                    unreadable = JobState(jid="", generation=job, instance=self.common.pman_instance)
                    yield Owned(observed_from(unreadable), None)
                else:
                    present = job if job.host != self._host else self._verified(reader, job)
                    yield Owned(observed_from(present), reader.spec(job.generation))

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable("the handle was written by a newer release")
        with self._control.reading() as reader:
            job = self._find(reader, ref.generation)
            host = job.host if job is not None else ref.handle.host if ref.handle is not None else self._host
            if host != self._host and (job is None or job.finished_at is None):
                raise WrongHost(host)
            if job is None or job.jid != ref.jid:
                return ""
            # One byte more than asked for tells a log that is cut, perhaps in a character, from one that is not.
            return tail(reader.log_end(ref.generation, max_bytes + 1), tail_lines, max_bytes)

    def end(self, jid: str, generation: str) -> None:
        self._end_named(jid, generation)

    def remove(self, jid: str, generation: str) -> bool:
        job = self._end_named(jid, generation)
        if job is not None:
            self._control.entomb(job)
        return False

    def _end_named(self, jid: str, generation: str) -> JobState | None:
        """End the job if it is this one and return how it ended; of what is not there the name is taken."""
        with self._control.reading() as reader:
            job = self._find(reader, generation)
            if job is None:
                if self._control.take_name(jid, generation):
                    return None  # and a launcher on its way will find it taken
                job = self._find(reader, generation)
            if job is None:
                raise Unavailable(f"the name {generation} is neither taken nor free")
            if job.jid != jid or job.removed_at is not None:
                return None
            return job if job.finished_at is not None else self._end(reader, job)

    def health(self) -> Health:
        try:
            self._control.probe()
        except Unavailable as error:
            return Health(ok=False, message=str(error))
        return Health(ok=True)

    def _adopt(self, spec: JobSpec) -> Handle | None:
        """Return the handle of the job if its generation is taken by itself; ``None`` if it is free."""
        with self._control.reading() as reader:
            try:
                job = reader.state(spec.generation)
            except ValueError as error:
                raise Unparseable(f"the state of generation {spec.generation} is damaged", str(error)) from error
        if job is None:
            return None
        if job.removed_at is not None:
            raise Rejected("this generation of the job has been removed: it is not run again")
        if (job.jid, job.instance, job.digest) != (spec.jid, spec.instance, spec.request.digest):
            raise Conflict(f"generation {spec.generation} is taken by another job, {job.jid}")
        return handle_of(job)

    def _launch(self, spec: JobSpec) -> Launch:
        request, common = spec.request, self.common
        user = self._user(spec.generation)
        cores = choose_cores(request.cpu_millicores, sorted(os.sched_getaffinity(0)), spec.generation)
        # A job without input is shown an empty folder, whether or not somebody has made one.
        without_input = request.type != "ds"
        incoming = resolve_beneath(self._store_base, request.input_dir, "input_dir", create=without_input, owner=user)
        outgoing = resolve_beneath(self._store_base, request.output_dir, "output_dir", create=True, owner=user)
        home = HOME_WORKAROUND if common.enable_home_workaround else _home_of(user[0] if user else os.geteuid())
        argv, env = build_argv(spec, incoming, outgoing), build_env(spec, incoming, outgoing, home)
        check_sizes(argv, env, bytes_max=32 * os.sysconf("SC_PAGE_SIZE"))
        return Launch(
            identity={
                "jid": spec.jid,
                "generation": spec.generation,
                "instance": spec.instance,
                "digest": request.digest,
                "host": self._host,
            },
            job=spec.to_json(),
            argv=argv,
            env=env,
            cwd=str(outgoing),
            user=user,
            cores=() if common.ignore_limits else cores,
            memory_bytes=None if common.ignore_limits else request.memory_mib * 2**20,
            time_limit_s=common.time_limit_s(request.time_limit_minutes),
        )

    def _user(self, generation: str) -> tuple[int, int] | None:
        """Return whom to become, or ``None`` to stay who we are."""
        users, ours = self.common.container_user, (os.geteuid(), os.getegid())
        if users is None:
            return None
        user = choose_user(users, generation)
        if user == ours:
            return None
        if not self.capabilities.sets_user:
            raise Rejected(f"CONTAINER_USER: only a worker of root can run jobs as {user}, this one is {ours}")
        return user

    def _sight(self, reader: Reader, ref: JobRef) -> Sighting:
        if ref.is_newer_than(HANDLE_VERSION):
            return Unknown("the handle was written by a newer release")
        try:
            job = reader.state(ref.generation)
        except ValueError as error:
            return Unknown(str(error))
        if job is None and ref.handle is not None and ref.handle.host != self._host:
            return Unknown(f"not seen here, but host {ref.handle.host} may know better")
        if job is None or job.removed_at is not None or job.jid != ref.jid:
            return Absent()
        if job.finished_at is None and job.host != self._host:
            return Unknown(f"the job is on host {job.host}")
        return observed_from(self._verified(reader, job))

    def _find(self, reader: Reader, generation: str) -> JobState | None:
        try:
            return reader.state(generation)
        except ValueError as error:
            raise Unavailable(f"the state of generation {generation} is damaged: {error}") from error

    def _verified(self, reader: Reader, job: JobState) -> JobState:
        """Return the state of a job of this host as it is now; if its supervisor is dead, end the job."""
        if job.finished_at is not None or is_alive(job.pid, job.start_ticks, job.boot_id):
            return job
        job = self._find(reader, job.generation) or job  # it may have written the end just before it went
        if job.finished_at is not None or job.removed_at is not None:
            return job
        is_same_boot = job.boot_id == boot_id()
        if is_same_boot:
            kill_leftovers(job.generation, self._control.base / job.generation / LOG)
        cause = "supervisor_killed" if is_same_boot else "host_rebooted"
        ended = replace(job, cause=cause, finished_at=time.time())
        with suppress(Unavailable):  # a full disk does not change the truth
            self._control.replace(ended)
        return ended

    def _end(self, reader: Reader, job: JobState) -> JobState:
        """End a running job with all its processes and return how it ended."""
        if job.host != self._host:
            raise WrongHost(job.host)
        is_ours = job.boot_id == boot_id()
        if is_ours and not terminate(job.pid, job.start_ticks, END_TIMEOUT_S):
            raise Unavailable("the job has been told to end and has not ended yet")
        return self._verified(reader, job)


def _start_supervisor(prepared: Path) -> str:
    """Start a supervisor and wait until it has claimed the job, or not. Returns its answer, for people."""
    command = [sys.executable, "-I", "-S", str(SUPERVISOR), str(prepared)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            cwd="/",
            start_new_session=True,
            timeout=CLAIM_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {CLAIM_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"it cannot be started: {error}"
    return done.stdout.decode(errors="replace").strip()


def _home_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
