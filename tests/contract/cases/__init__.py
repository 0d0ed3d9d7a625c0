"""What a backend supplies to be tested by the whole contract suite: one small file here, named like the backend.

``cases/<name>.py`` holds exactly one subclass of :class:`BackendCase`. It says how to reach the scheduler and which
programs to run there; the tests in ``test_backend_*.py`` say what must then be true. A backend of the registry
without such a file fails the suite. It may have more of them, ``cases/<name>_<what>.py``: a fake of its scheduler, say.
A case whose real scheduler is not on this machine says so in :meth:`BackendCase.missing`: its tests are skipped, or
fail if ``--require=<name>`` was given.

Every program of a case gets the output folder as its last argument (that is how :mod:`pman_core.command` builds an
argv), and arguments of the test between the program's own and that one.
"""

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, TypeVar

from pman_core import registry
from pman_core.backend import Absent, Backend, Handle, JobRef, Observed, Sighting, Unknown
from pman_core.errors import Unavailable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State

Answer = TypeVar("Answer")

LASTING_S = 600
"""Longer than any test takes, on whatever machine: who asks for such a run ends it."""
BUSY_PATIENCE_S = 120.0
"""So long whatever must happen may take on a real scheduler, which has the jobs of other tests, too."""


@dataclass(frozen=True)
class Program:
    """Something to run, as the fields of a request."""

    entrypoint: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dump:
    """What the program ``dump`` saw."""

    args: tuple[str, ...]
    """Its arguments, without the program's own at the beginning and the output folder at the end."""
    env: Mapping[str, str]
    """Its whole environment."""
    uid: int
    gid: int
    cpus: float | None = None
    """How many CPUs it could keep busy at most; ``None`` where that cannot be measured."""


class BackendCase(ABC):
    """One scheduler for one test: its own instance name, its own store base, any number of workers over it.

    A subclass implements the abstract methods and nothing else, unless its scheduler is slower than most.
    """

    name: ClassVar[str]
    """The name of the backend: the value of CONTAINER_ENV."""
    image: ClassVar[str] = "case/image"
    """The image that holds the programs."""
    marker: ClassVar[str] = ""
    """The pytest marker (in ``pyproject.toml``) of tests that need this real scheduler; ``""``: they always run."""
    starts_programs: ClassVar[bool] = False
    """Its calls start programs, or its scheduler is a server of its own for each test, which adds up: ``pytest`` alone
    runs the case through ``test_backend_life`` only, ``make model`` through all the rest."""
    patience_s: ClassVar[float] = 25.0
    """How long the suite waits for something that must happen."""
    prompt_s: ClassVar[float] = 8.0
    """How long ending a job may take: ``remove`` itself, and then the last of its processes. With most schedulers a
    job that is only asked to end, as these are not, has ten seconds."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.folder = folder
        self.instance = instance
        self.store_base = folder / "store"
        self.store_base.mkdir()
        self._made: list[Backend] = []
        self._specs = 0

    # -- the scheduler: what a case must say

    @classmethod
    def missing(cls) -> str:
        """Say what this machine lacks to run the case, or ``""``."""
        return ""

    @abstractmethod
    def build(self, common: Settings) -> Backend:
        """Return a new backend that is not open yet. All of them share the one scheduler of this case."""

    @abstractmethod
    def unreachable(self) -> Backend:
        """Return a backend that is not open and whose scheduler does not exist (no socket, no folder, no command)."""

    @abstractmethod
    def alive(self, spec: JobSpec) -> bool:
        """Ask the system itself, not the backend, whether any process of the job still lives."""

    # -- the programs: what a case must provide

    @abstractmethod
    def dump(self) -> Program:
        """A program that writes its arguments, environment, user and CPUs to the output folder."""

    @abstractmethod
    def read_dump(self, spec: JobSpec) -> Dump:
        """Return what :meth:`dump` wrote when it ran as ``spec``."""

    @abstractmethod
    def exit_with(self, code: int) -> Program:
        """A program that exits with ``code`` at once."""

    @abstractmethod
    def kill_self(self, signal_number: int) -> Program:
        """A program that ends itself by a signal."""

    @abstractmethod
    def run_for(self, seconds: float, say: bytes = b"") -> Program:
        """A program that prints ``say``, flushes, and runs so long beside a child of its own.

        Both ignore SIGTERM. Tests ask for long runs and end them; only :meth:`alive` sees the child.
        """

    @abstractmethod
    def say(self, data: bytes, times: int = 1) -> Program:
        """A program that writes ``data`` to stdout ``times`` times and exits with 0."""

    @abstractmethod
    def count_run(self) -> Program:
        """A program that appends one line to the file ``runs`` in the output folder and exits with 0."""

    @abstractmethod
    def copy(self) -> Program:
        """A program that copies the files of its last argument but one to its last (a job of type ``ds``)."""

    @abstractmethod
    def no_such_command(self) -> Program:
        """A program that is not there."""

    def allocate(self, mib: int) -> Program | None:
        """A program that fills so much memory and then exits with 0; ``None`` where nothing can be measured."""
        return None

    def half_submit(self, spec: JobSpec) -> bool:
        """Leave ``spec`` as a worker does that dies between making the object and starting it.

        ``False`` where there is no such moment.
        """
        return False

    def write_incoming(self) -> Program | None:
        """A program that creates the file ``spoiled`` in its last argument but one (type ``ds``); or ``None``."""
        return None

    # -- what the suite uses; nothing to do for a case from here on

    def runs(self, spec: JobSpec) -> int:
        """Return how often the program of :meth:`count_run` ran as ``spec``."""
        counted = self.output(spec) / "runs"
        return len(counted.read_bytes().splitlines()) if counted.exists() else 0

    def common(self, *, timelimit_s: float | None = None, **overrides: Any) -> Settings:
        """Return the settings of one worker; ``overrides`` are fields of the common settings."""
        own = {"storebase": self.store_base, "pman_instance": self.instance}
        settings = _settings(self.name, **{key: value for key, value in overrides.items() if key not in own})
        settings = settings.model_copy(update=own | {key: overrides[key] for key in own if key in overrides})
        # The setting counts in minutes; no test waits for one.
        return settings if timelimit_s is None else settings.model_copy(update={"timelimit_minutes": timelimit_s / 60})

    def make(self, **overrides: Any) -> Backend:
        """Open one more worker's backend over the same scheduler; the ones before may be thought of as crashed."""
        backend = self.build(self.common(**overrides))
        backend.open()
        self._made.append(backend)
        return backend

    def spec(
        self,
        program: Program,
        *,
        args: Sequence[str] = (),
        env: Sequence[str] = (),
        jid: str = "",
        generation: str = "",
        instance: str = "",
        **fields: Any,
    ) -> JobSpec:
        """Return a new job that runs ``program``, with its folders made as pfcon makes them."""
        self._specs += 1
        jid = jid or f"job-{self._specs}"
        values: dict[str, Any] = {
            "jid": jid,
            "auid": "contract",
            "number_of_workers": 1,
            "cpu_limit": 1000,
            "memory_limit": 512,
            "gpu_limit": 0,
            "image": self.image,
            "type": "fs",
            "input_dir": f"{jid}-{self._specs}/in",
            "output_dir": f"{jid}-{self._specs}/out",
        }
        request = JobRequest(
            entrypoint=program.entrypoint, args=(*program.args, *args), env=(*program.env, *env), **(values | fields)
        )
        spec = JobSpec(generation or mint_generation(), instance or self.instance, request)
        for folder in (self.input(spec), self.output(spec)):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)  # a job may run as any user
        return spec

    def input(self, spec: JobSpec) -> Path:
        return self.store_base / spec.request.input_dir

    def output(self, spec: JobSpec) -> Path:
        return self.store_base / spec.request.output_dir

    def close(self) -> None:
        """Close every backend and end what the test left running."""
        for backend in self._made:
            backend.close()
        for backend in self._made:
            until(lambda common=backend.common: self._sweeps(common), self.patience_s, "what is left is removed")  # type: ignore[misc]

    def _sweeps(self, common: Settings) -> bool:
        """Remove every job; ``False`` if the scheduler is too busy, which is no fault of the test."""
        sweeper = self.build(common)
        try:
            sweeper.open()
            for left in list(sweeper.owned()):
                sweeper.remove(left.observed.jid, left.observed.generation)
        except Unavailable:
            return False
        finally:
            sweeper.close()
        return True


@cache
def _settings(backend: str, **values: Any) -> Settings:
    """Return frozen settings, but for what each case has of its own; to read them takes longer than many a test."""
    return Settings(container_env=backend, storebase=Path("/"), **values)


def case_names() -> list[str]:
    """Return the names of all cases: the backends of the registry, and further cases of them by their files."""
    backends = registry.names()
    files = (module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    return [*backends, *(name for name in files if name not in backends)]


def load_case(name: str) -> type[BackendCase]:
    """Return the case ``name``: that of the backend of this name, or a further one.

    Raises:
        LookupError: nobody wrote one, or the file does not hold exactly one.
    """
    module_name = f"{__name__}.{name}"
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise LookupError(
            f"backend {name!r} is not tested: add tests/contract/cases/{name}.py with a subclass of BackendCase"
        ) from None
    cases = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module_name]
    found = [value for value in cases if issubclass(value, BackendCase)]
    if len(found) != 1:
        raise LookupError(f"{module_name} must hold exactly one subclass of BackendCase, it holds {len(found)}")
    return found[0]


def until(question: Callable[[], Answer], timeout_s: float, what: str) -> Answer:
    """Ask again and again; return the first true answer.

    Raises:
        AssertionError: there was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.01)
    return answer


def ref_of(spec: JobSpec, handle: Handle | None = None) -> JobRef:
    return JobRef(spec.jid, spec.generation, handle)


def look(backend: Backend, spec: JobSpec, handle: Handle | None = None) -> Sighting:
    """Ask for one job."""
    return backend.observe([ref_of(spec, handle)])[spec.jid, spec.generation]


def seen(backend: Backend, spec: JobSpec, *states: State, timeout_s: float = BUSY_PATIENCE_S) -> Observed:
    """Wait until the job is in one of ``states`` (any terminal one if none is given) and return how it is."""
    wanted = frozenset(states) or TERMINAL

    def observed() -> Observed | None:
        sighting = look(backend, spec)
        assert not isinstance(sighting, Absent | Unknown), f"{spec.jid} was {sighting} instead of {sorted(wanted)}"
        assert sighting.state in wanted or sighting.state not in TERMINAL, f"{spec.jid} ended otherwise: {sighting}"
        return sighting if sighting.state in wanted else None

    return until(observed, timeout_s, f"{spec.jid} in {sorted(wanted)}")
