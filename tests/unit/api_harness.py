"""One app over a store in memory, with everything that goes in or out in plain sight. No clock runs, nothing sleeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pman_api.app import create_app
from pman_core.backend import Capabilities
from pman_core.errors import StoreUnavailable
from pman_core.job import JobRecord
from pman_core.queues import Message, Task
from pman_core.settings import Settings
from pman_core.states import TERMINAL, State
from pman_core.store.memory import MemoryStore
from pman_core.store.protocol import BackendReport, Change, Moved

START_MS = 1_750_000_000_000
REQUEST_ID = "test-request"
BACKEND = "process"

PFCON_BODY: dict[str, Any] = {
    "jid": "chris-jid-1",
    "args": [],
    "args_path_flags": [],
    "auid": "cube",
    "number_of_workers": "1",
    "cpu_limit": "1000",
    "memory_limit": "200",
    "gpu_limit": "0",
    "image": "fnndsc/pl-simplefsapp",
    "entrypoint": ["python3", "/usr/local/bin/simplefsapp"],
    "type": "fs",
    "env": [],
    "input_dir": "key-chris-jid-1/incoming",
    "output_dir": "key-chris-jid-1/outgoing",
}
"""What pfcon 5 sends: numbers as digit strings, lists that are empty rather than absent."""


@dataclass
class Clock:
    """Wall time of the store and monotonic time of the app, moved by hand."""

    at_s: float = 0.0

    def now_ms(self) -> int:
        return START_MS + round(self.at_s * 1000)

    def monotonic(self) -> float:
        return self.at_s


@dataclass
class RecordingPublisher:
    """Remembers instead of enqueueing; ``answer`` is what the broker says, or the exception it raises."""

    sent: list[tuple[Task, str, str, str]] = field(default_factory=list)
    answer: bool | Exception = True

    def message(self, task: Task, jid: str, generation: str, host: str = "") -> Message | None:
        """The store in memory asks for the message of a job only if it is new."""
        return Message(task, jid) if self.publish(task, jid, generation, host) else None

    def publish(self, task: Task, jid: str, generation: str, host: str = "") -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.sent.append((task, jid, generation, host))
        return self.answer


class FaultyStore:
    """A store in memory that can be taken away, as a whole or one method at a time, and that counts its calls."""

    def __init__(self, clock: Clock) -> None:
        self._inner = MemoryStore(now_ms=clock.now_ms)
        self.fault: Exception = StoreUnavailable("connection refused")
        self.away: set[str] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.away & {name, "all"}:
                raise self.fault
            return getattr(self._inner, name)(*args, **kwargs)

        return call


class Harness:
    """The app, what it stands on, and short words for what tests do with it."""

    def __init__(self, **settings: Any) -> None:
        # Not validated: the defaults then come from the code alone, whatever this machine's environment says.
        configured = Settings.model_construct(container_env=BACKEND, **settings)
        self.clock = Clock()
        self.store = FaultyStore(self.clock)
        self.store.begin_epoch(BACKEND)
        self.store.calls.clear()
        self.publisher = RecordingPublisher()
        self.app = create_app(configured, self.store, self.publisher, monotonic=self.clock.monotonic)
        self.http: FlaskClient = self.app.test_client()
        self.http.environ_base["HTTP_X_REQUEST_ID"] = REQUEST_ID

    def post(self, body: Mapping[str, Any] | None = None, **changes: Any) -> TestResponse:
        """POST pfcon's body (or ``body``) with some fields changed; a field changed to ``...`` is left out."""
        merged = {**(body or PFCON_BODY), **changes}
        return self.http.post("/api/v1/", json={key: value for key, value in merged.items() if value is not ...})

    def get(self, jid: str = PFCON_BODY["jid"]) -> TestResponse:
        return self.http.get(f"/api/v1/{jid}/")

    def delete(self, jid: str = PFCON_BODY["jid"]) -> TestResponse:
        return self.http.delete(f"/api/v1/{jid}/")

    def record(self, jid: str = PFCON_BODY["jid"]) -> JobRecord:
        record = self.store.get(jid)
        assert record is not None
        return record

    def is_untouched(self) -> bool:
        """Whether nothing was created and nothing enqueued."""
        return not self.publisher.sent and not list(self.store.active(BACKEND))

    def report(self, capabilities: Capabilities | None = None, *, ok: bool = True, message: str = "") -> None:
        """Let a worker speak."""
        data = (capabilities or Capabilities()).to_dict()
        self.store.publish(BackendReport(BACKEND, data, ok, message, self.clock.now_ms()))

    def bring_to(self, state: State, *, jid: str = PFCON_BODY["jid"], host: str = "", **last: Any) -> None:
        """Bring a job from QUEUED to ``state``, a second for each step; ``last`` is told with the last step."""
        record = self.record(jid)
        steps = [State.SUBMITTING, State.PENDING, State.RUNNING]
        for step in [*steps, state] if state in TERMINAL else steps[: steps.index(state) + 1]:
            self.clock.at_s += 1
            details: dict[State, dict[str, Any]] = {
                State.SUBMITTING: {"token": "lease", "host": host},
                State.PENDING: {"token": "lease", "handle_json": "{}", "native_state": "created"},
                State.RUNNING: {"started_at_ms": self.clock.now_ms(), "native_state": "running"},
            }
            told = details.get(step, {"finished_at_ms": self.clock.now_ms()}) | (last if step is state else {})
            assert self.store.advance(Change(record.jid, record.generation, step, **told)) is Moved.OK
