"""A store base with process backends over it, for the tests of real processes; no sleeps, only conditions."""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import psutil
import pytest

from backends._process_state import JobState
from backends.process import ProcessBackend, ProcessSettings
from pman_core.backend import JobRef, Observed, Sighting
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State

T = TypeVar("T")
HOST = "host-a"
PYTHON = (sys.executable, "-I", "-S", "-c")
TIMEOUT_S = 40.0


def until(question: Callable[[], T | None], what: str) -> T:
    """Ask again and again; return the first true answer."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not in {TIMEOUT_S} s: {what}"
        time.sleep(0.005)
    return answer


class Site:
    """One store base. Its folder is open to every user, unlike pytest's: some jobs run as somebody else."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="pman-unit-"))
        self.folder.chmod(0o755)
        self.base = self.folder / "store"
        (self.base / "in").mkdir(parents=True)
        self.control = self.base / ".pman" / "unit"

    def backend(self, *, any_image: bool = True, **settings: Any) -> ProcessBackend:
        values: dict[str, Any] = {"storebase": self.base, "pman_instance": "unit", "pman_hostname": HOST}
        limit_s = settings.pop("timelimit_s", None)
        common = Settings(**(values | settings))
        if limit_s is not None:  # the setting counts in minutes; no test waits for one
            common = common.model_copy(update={"timelimit_minutes": limit_s / 60})
        backend = ProcessBackend(common, ProcessSettings(process_any_image=any_image))
        backend.open()
        return backend

    def spec(self, *argv: str, env: Sequence[str] = (), generation: str = "", **fields: Any) -> JobSpec:
        """Return a job of the argv and, at its end, the real output folder."""
        values: dict[str, Any] = {
            "jid": f"job-{secrets.token_hex(4)}",
            "auid": "unit",
            "number_of_workers": 1,
            "cpu_limit": 1000,
            "memory_limit": 1024,
            "gpu_limit": 0,
            "image": "unused",
            "type": "fs",
            "input_dir": "in",
            "output_dir": f"out-{secrets.token_hex(4)}",
        }
        request = JobRequest(entrypoint=argv[:1], args=argv[1:], env=tuple(env), **(values | fields))
        return JobSpec(generation or mint_generation(), "unit", request)

    def python(self, code: str, *args: str, **fields: Any) -> JobSpec:
        return self.spec(*PYTHON, code, *args, **fields)

    def shell(self, code: str, **fields: Any) -> JobSpec:
        """Return a job whose shell has the output folder in ``$0``."""
        return self.spec("sh", "-c", code, **fields)

    def output(self, spec: JobSpec) -> Path:
        return self.base / spec.request.output_dir

    def state(self, spec: JobSpec) -> JobState:
        return JobState.from_json((self.control / spec.generation / "state.json").read_bytes())

    def write_state(self, state: JobState) -> None:
        """Put on the disk what a crash may have left there."""
        folder = self.control / state.generation
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.json").write_text(json.dumps(asdict(state)))

    def prepare(self, spec: JobSpec) -> Path:
        """Do what a submit does before it starts the supervisor, and return the prepared folder."""
        backend = self.backend()
        return backend._control.prepare(spec.generation, {"launch.json": json.dumps(backend._launch(spec).to_dict())})

    def supervisor(self, spec: JobSpec) -> psutil.Process:
        return psutil.Process(self.state(spec).pid)

    def close(self) -> None:
        if self.control.exists():
            backend = self.backend(submit_lease_s=0.1, submit_fence_s=0.1)
            for owned in list(backend.owned()):
                if owned.observed.jid and owned.observed.handle.host == HOST:
                    backend.remove(owned.observed.jid, owned.observed.generation)
        shutil.rmtree(self.folder)


def dead(spec: JobSpec, *, started_at: float | None = None, boot_id: str = "", host: str = HOST) -> JobState:
    """Return the state of a job whose supervisor is no more: its pid is somebody else's by now (ours)."""
    return JobState(
        jid=spec.jid,
        generation=spec.generation,
        instance=spec.instance,
        digest=spec.request.digest,
        host=host,
        boot_id=boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        pid=os.getpid(),
        start_ticks=1,
        started_at=started_at,
    )


def look(backend: ProcessBackend, spec: JobSpec) -> Sighting:
    return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]


def seen(backend: ProcessBackend, spec: JobSpec, *states: State) -> Observed:
    """Wait for one of ``states``, by default for the end."""

    def observed() -> Observed | None:
        found = look(backend, spec)
        assert isinstance(found, Observed), found
        return found if found.state in (states or TERMINAL) else None

    return until(observed, f"{spec.jid} in {states or 'its end'}")


def run(backend: ProcessBackend, spec: JobSpec) -> Observed:
    backend.submit(spec)
    return seen(backend, spec)


def is_living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def site() -> Iterator[Site]:
    opened = Site()
    try:
        yield opened
    finally:
        opened.close()
