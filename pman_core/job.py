"""The job as a backend sees it (:class:`JobSpec`) and as a reader sees it (:class:`JobRecord`). Frozen, pure."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property

from ulid import ULID

from pman_core.command import build_argv
from pman_core.request import JobRequest
from pman_core.states import TERMINAL, State

GENERATION_PATTERN = re.compile("[0-9a-hjkmnp-tv-z]{26}")


def mint_generation(not_before: str = "") -> str:
    """Return a new generation: a ULID in lower case (26 characters, sortable by time, DNS-safe).

    It always sorts after ``not_before``, another generation, whatever the clock of this host says.
    """
    generation = str(ULID()).lower()
    if generation <= not_before:
        after_ms = ULID.from_str(not_before.upper()).milliseconds + 1
        generation = str(ULID.from_timestamp(after_ms)).lower()
    return generation


def native_name(jid: str, generation: str) -> str:
    """Return the name that the job has on its scheduler: DNS-1123, at most 63 characters, unique.

    The readable part of the jid comes first; the generation alone makes it unique.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", jid.lower()).strip("-")[:31].strip("-")
    return f"pman-{readable}-{generation}" if readable else f"pman-{generation}"


@dataclass(frozen=True)
class JobSpec:
    """One execution of one request: all that a backend needs, and all that a lost record is rebuilt from."""

    generation: str
    instance: str
    request: JobRequest

    @property
    def jid(self) -> str:
        return self.request.jid

    @cached_property
    def argv(self) -> tuple[str, ...]:
        """The command; it replaces the image's ENTRYPOINT and is never given to a shell."""
        return build_argv(self.request)

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment the request asks for; of a name given twice the last value counts."""
        return dict(entry.split("=", 1) for entry in self.request.env)

    @property
    def native_name(self) -> str:
        return native_name(self.jid, self.generation)

    def to_json(self) -> str:
        """Return the text that a backend attaches to the native object, for :meth:`from_json`."""
        return json.dumps(
            {"v": 1, "generation": self.generation, "instance": self.instance, "request": self.request.canonical}
        )

    @classmethod
    def from_json(cls, text: str) -> "JobSpec":
        """Rebuild a spec.

        Raises:
            ValueError: the text is not what :meth:`to_json` writes.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("v") != 1:
            raise ValueError("not a job spec of a known version")
        return cls(str(data["generation"]), str(data["instance"]), JobRequest.model_validate_json(data["request"]))


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The truth for readers. ``*_at_ms`` are milliseconds since the epoch on the store's clock, 0 = never."""

    jid: str
    generation: str
    digest: str
    backend: str
    state: State
    image: str
    cmd: str
    created_at_ms: int
    request_json: str = field(default="", repr=False)
    message: str = ""
    reason: str = ""
    exit_code: int | None = None
    native_state: str = ""
    handle_json: str = ""
    handle_at_ms: int = 0
    host: str = ""
    started_at_ms: int = 0
    finished_at_ms: int = 0
    attempts: int = 0
    retries: int = 0
    enqueues: int = 0
    next_attempt_at_ms: int = 0
    lease_until_ms: int = 0
    absent: int = 0
    logs: str = field(default="", repr=False)
    logs_at_ms: int = 0
    logs_missing: bool = False
    image_at_ms: int = 0
    """When its image was pulled for it: submit needs no other pull. 0 again when the scheduler misses it once more."""

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    def spec(self, instance: str) -> JobSpec:
        """Return the spec of this record (the request must have been read, see ``Store.get``)."""
        return JobSpec(self.generation, instance, JobRequest.from_canonical(self.request_json))


def stable_choice(key: str, low: int, high: int) -> int:
    """Return a whole number in ``low..high`` that depends on ``key`` only, so that a repeated submit agrees."""
    return low + int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % (high - low + 1)
