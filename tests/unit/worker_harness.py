"""A whole worker in one process and one thread: in-memory store, scripted scheduler, a clock moved by hand."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

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
)
from pman_core.job import JobSpec
from pman_core.queues import Task
from pman_core.request import parse_request
from pman_core.settings import Settings
from pman_core.states import Reason, State
from pman_core.store.memory import MemoryStore
from pman_core.store.policy import Policy
from pman_core.store.protocol import Created
from pman_worker import lifecycle
from pman_worker.context import Context
from pman_worker.leader import Leader
from pman_worker.observer import Observer

JOB = {
    "jid": "chris-jid-1",
    "args": ["--path", "x"],
    "args_path_flags": [],
    "auid": "cube",
    "number_of_workers": "1",
    "cpu_limit": "1000",
    "memory_limit": "200",
    "gpu_limit": "0",
    "image": "fnndsc/pl-simplefsapp",
    "entrypoint": ["simplefsapp"],
    "type": "ds",
    "env": [],
    "input_dir": "key/incoming",
    "output_dir": "key/outgoing",
}


class Killed(BaseException):
    """The process ends here, as by ``kill -9``: nothing of ours may catch it."""


class Clock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def s(self) -> float:
        return self.now_s

    def ms(self) -> int:
        return round(self.now_s * 1000)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class NoSettings(BaseModel):
    """The scripted scheduler has none."""


class ScriptedBackend(Backend):
    """A scheduler in a dictionary. ``runs`` counts executions; ``faults`` are raised (or called) by method name."""

    name = "mock"
    Settings = NoSettings
    capabilities = Capabilities()
    poll_s = 1.0

    def __init__(self, common: Settings, own: BaseModel) -> None:
        super().__init__(common, own)
        self.objects: dict[tuple[str, str], Observed] = {}
        self.specs: dict[tuple[str, str], JobSpec] = {}
        self.runs: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.faults: dict[str, list[BaseException | Callable[[], object]]] = {}
        self.always: dict[str, BaseException] = {}
        self.unknown: set[str] = set()
        self.log_text = "a line\n"
        self.confirms = False
        """Whether ``remove`` says that it has verified its work."""

    def fail(self, method: str, *faults: BaseException | Callable[[], object]) -> None:
        """Let the next calls of ``method`` (of ``method:after``: when its work is done) fail, one after the other."""
        self.faults.setdefault(method, []).extend(faults)

    def _enter(self, point: str) -> None:
        self.calls.append(point)
        if point in self.always:
            raise self.always[point]
        if self.faults.get(point):
            fault = self.faults[point].pop(0)
            if isinstance(fault, BaseException):
                raise fault
            fault()

    def submit(self, spec: JobSpec) -> Handle:
        self._enter("submit")
        key = (spec.jid, spec.generation)
        if key not in self.objects:
            handle = Handle(1, {"name": spec.native_name}, host=self.host)
            self.objects[key] = Observed(*key, spec.request.digest, State.QUEUED, handle)
            self.specs[key] = spec
        self._enter("submit:made")
        if self.objects[key].state is State.QUEUED:
            self.runs.append(key)
            self.objects[key] = replace(self.objects[key], state=State.PENDING)
        self._enter("submit:after")
        return self.objects[key].handle

    @property
    def host(self) -> str:
        return self.common.pman_hostname if self.capabilities.scope == "host" else ""

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        self._enter("observe")
        return {(ref.jid, ref.generation): self._sight(ref) for ref in refs}

    def _sight(self, ref: JobRef) -> Sighting:
        if ref.jid in self.unknown:
            return Unknown("asked to say so")
        return self.objects.get((ref.jid, ref.generation), Absent())

    def owned(self) -> Iterator[Owned]:
        self._enter("owned")
        for key, observed in list(self.objects.items()):
            yield Owned(observed, self.specs[key])
        self._enter("owned:after")

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        self._enter("logs")
        return self.log_text

    def end(self, jid: str, generation: str) -> None:
        self._enter("end")
        if (jid, generation) in self.objects:
            self.become(jid, State.CANCELLED, generation=generation, reason=Reason.CANCELLED)

    def end_overdue(self, jid: str, generation: str) -> None:
        self._enter("end_overdue")
        if (jid, generation) in self.objects:
            self.become(jid, State.FAILED, generation=generation, reason=Reason.TIME_LIMIT)

    def remove(self, jid: str, generation: str) -> bool:
        self._enter("remove")
        self.objects.pop((jid, generation), None)
        self._enter("remove:after")
        return self.confirms

    def health(self) -> Health:
        return Health(ok=True)

    def become(self, jid: str, state: State, *, generation: str = "", **fields: Any) -> None:
        """Let the native object of ``jid`` change."""
        key = next(key for key in self.objects if key[0] == jid and generation in {"", key[1]})
        self.objects[key] = replace(self.objects[key], state=state, **fields)


@dataclass
class RecordingPublisher:
    """Remembers what was enqueued."""

    sent: list[tuple[Task, str, str, str]] = field(default_factory=list)
    waiting: int = 0

    def publish(self, task: Task, jid: str, generation: str, host: str = "") -> bool:
        self.sent.append((task, jid, generation, host))
        return True

    def backlog(self, task: Task) -> int:
        return self.waiting

    def of(self, task: Task) -> list[tuple[str, str]]:
        return [(jid, host) for sent, jid, _, host in self.sent if sent is task]


class World:
    """Store, scheduler, publisher and clock, and short words for what tests do with them."""

    def __init__(self, *, swept: bool = True, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = Settings(
            container_env="mock", storebase=Path("/store"), **({"pman_hostname": "host-a"} | settings)
        )
        self.policy = Policy.from_settings(self.settings)
        self.store = MemoryStore("pman", self.policy, self.clock.ms)
        self.backend = ScriptedBackend(self.settings, NoSettings())
        self.publisher = RecordingPublisher()
        self.ctx = Context(self.settings, self.store, self.backend, self.publisher, self.clock.s)
        self.leader = Leader(self.store, "mock", 6.0)
        if swept:
            self.store.begin_epoch("mock")

    def wipe_store(self) -> None:
        """Redis comes back empty."""
        self.store = MemoryStore("pman", self.policy, self.clock.ms)
        self.ctx = replace(self.ctx, store=self.store)

    def post(self, jid: str = "chris-jid-1", **fields: Any) -> str:
        """POST a job; returns its generation."""
        creation = self.store.create(parse_request(JOB | {"jid": jid} | fields), "mock")
        assert creation.outcome is Created.NEW
        return creation.record.generation

    def record(self, jid: str = "chris-jid-1") -> Any:
        record = self.store.get(jid)
        assert record is not None
        return record

    def observer(self) -> Observer:
        """A leading observer."""
        self.leader = Leader(self.store, "mock", 1e9)
        self.leader.renew()
        assert self.leader.leads()
        return Observer(self.ctx, self.leader, self.clock.s)


def submitted(world: World, jid: str = JOB["jid"], **fields: Any) -> str:  # type: ignore[assignment]
    """POST a job and hand it to the scheduler; returns its generation."""
    generation = world.post(jid, **fields)
    lifecycle.submit(world.ctx, jid, generation)
    return generation


class OneRound(threading.Event):
    """Lets an observer make one round, however slow the machine is: who is about to wait is told to stop."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def rounds(world: World, observer: Observer, count: int, step_s: float = 1.0) -> None:
    """Let the observer do so many rounds, with so much time after each."""
    for _ in range(count):
        observer.tick()
        world.clock.advance(step_s)
