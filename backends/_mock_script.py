"""What a job of the mock backend does, written in its own environment. Pure: only :mod:`backends.mock` imports this.

A job's state is a function of its script, of when it was submitted and of what time it is. Nothing runs in between,
so that thousands of jobs cost nothing, and every process that looks sees the same.

=============================  ========================================================================================
``MOCK_PENDING_FOR_S``         PENDING for so long (default 0)
``MOCK_RUN_FOR_S``             then RUNNING for so long (default 0)
``MOCK_EXIT_CODE``             then it ends with this code (default 0)
``MOCK_SIGNAL``                or is killed by this signal
``MOCK_REASON``                or ends for this reason; START_FAILED and the like end it before it runs
``MOCK_VANISH_AFTER_S``        the scheduler forgets it, ended or not, so long after the submit
``MOCK_LOG``                   its output, once it runs; or as bytes, ``MOCK_LOG_HEX``
``MOCK_LOG_TIMES``             so often (default 1)
``MOCK_LOGS_UNAVAILABLE``      the log can never be read
``MOCK_SUBMIT_BLOCK_FOR_S``    ``submit`` hangs for so long
``MOCK_SUBMIT_ERROR``          ``submit`` goes wrong: a value of :class:`SubmitError`
``MOCK_SUBMIT_ERROR_TIMES``    but only so often (default: always)
``MOCK_REMOVE_ERROR_TIMES``    ``remove`` is ``Unavailable`` so often (default 0)
``MOCK_REMOVE_LINGER_S``       a removed job stays visible, as cancelled, for so long (default 0)
=============================  ========================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends._time_limit import describe_time_limit
from pman_core.errors import Fault, Rejected
from pman_core.states import Reason, State

PREFIX = "MOCK_"
NEVER_RAN = frozenset({Reason.START_FAILED, Reason.IMAGE_PULL, Reason.REJECTED})
KILLED = 137  # 128 + SIGKILL
ON_REQUEST = "ended on request"

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Times = Annotated[int, Field(ge=0)]


class SubmitError(StrEnum):
    """The ways in which ``submit`` can go wrong."""

    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    CONFLICT = "conflict"
    UNPARSEABLE = "unparseable"
    CRASH = "crash"  # the calling process dies before anything is done
    LOST_ANSWER = "lost_answer"  # it is done, and then Unavailable is raised
    CRASH_AFTER = "crash_after"  # it is done, and then the calling process dies
    LOST_HALF_WAY = "lost_half_way"  # the job is there and not started, and then Unavailable is raised
    CRASH_HALF_WAY = "crash_half_way"  # the job is there and not started, and then the calling process dies


AFTER = frozenset({SubmitError.LOST_ANSWER, SubmitError.CRASH_AFTER})
"""The errors that strike when the job is there already."""
HALF_WAY = frozenset({SubmitError.LOST_HALF_WAY, SubmitError.CRASH_HALF_WAY})
"""The errors that strike when the job is there and not started."""
NOT_STARTED = inf
"""The time at which a job is submitted that only another ``submit`` brings on."""


class Script(BaseModel):
    """The validated ``MOCK_*`` variables of one job; the table above says what each means."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=lambda name: PREFIX + name.upper()
    )

    pending_for_s: Seconds = 0.0
    run_for_s: Seconds = 0.0
    exit_code: Annotated[int, Field(ge=0, le=255)] = 0
    signal: Annotated[int, Field(ge=1, le=64)] | None = None
    reason: Reason | None = None
    vanish_after_s: Seconds | None = None
    log: str = ""
    log_hex: Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")] = ""
    log_times: Times = 1
    logs_unavailable: bool = False
    submit_block_for_s: Seconds = 0.0
    submit_error: SubmitError | None = None
    submit_error_times: Times | None = None
    remove_error_times: Times = 0
    remove_linger_s: Seconds = 0.0

    @property
    def output(self) -> bytes:
        return (bytes.fromhex(self.log_hex) or self.log.encode()) * self.log_times


def parse_script(env: Mapping[str, str]) -> Script:
    """Read the script from the environment of a job; other variables are none of its business.

    Raises:
        Rejected: with every fault at once; a misspelt name is one.
    """
    try:
        return Script.model_validate({name: value for name, value in env.items() if name.startswith(PREFIX)})
    except ValidationError as error:
        faults = [Fault(str(item["loc"][0]), item["msg"]) for item in error.errors(include_url=False)]
        raise Rejected("env: " + "; ".join(map(str, faults))) from None


@dataclass(frozen=True, slots=True)
class Plan:
    """The life of one job. Times are seconds since the epoch."""

    script: Script
    submitted_at_s: float
    time_limit_s: float | None = None
    ended_at_s: float | None = None
    """When it was told to end."""
    end_reason: Reason = Reason.CANCELLED
    end_message: str = ON_REQUEST
    gone_at_s: float | None = None
    """When the object of a removed job is gone at last."""

    @property
    def starts_at_s(self) -> float:
        return self.submitted_at_s + self.script.pending_for_s

    @property
    def over_limit(self) -> bool:
        return self.time_limit_s is not None and self.script.run_for_s > self.time_limit_s

    @property
    def finishes_at_s(self) -> float:
        """When it ends if nobody ends it."""
        if self.script.reason in NEVER_RAN:
            return self.starts_at_s
        limit_s = self.script.run_for_s if self.time_limit_s is None else self.time_limit_s
        return self.starts_at_s + min(self.script.run_for_s, limit_s)

    @property
    def changes_at_s(self) -> list[float]:
        """When there is something new to see, if nobody ends it."""
        return sorted({self.submitted_at_s, self.starts_at_s, self.finishes_at_s})

    def is_gone(self, now_s: float) -> bool:
        vanish_after_s = self.script.vanish_after_s
        vanished = vanish_after_s is not None and now_s >= self.submitted_at_s + vanish_after_s
        return vanished or (self.gone_at_s is not None and now_s >= self.gone_at_s)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a job is at one moment."""

    state: State
    started_at_s: float | None = None
    finished_at_s: float | None = None
    exit_code: int | None = None
    reason: Reason | None = None
    message: str = ""


def condition_at(plan: Plan, now_s: float) -> Condition:
    """Return how the job is at ``now_s``; ask :meth:`Plan.is_gone` first."""
    started_at_s = None if plan.script.reason in NEVER_RAN else plan.starts_at_s
    cancelled_at_s = plan.ended_at_s
    if cancelled_at_s is not None and cancelled_at_s <= now_s and cancelled_at_s < plan.finishes_at_s:
        ran = started_at_s is not None and started_at_s <= cancelled_at_s
        return Condition(
            State.FAILED if plan.end_reason is Reason.TIME_LIMIT else State.CANCELLED,
            started_at_s if ran else None,
            cancelled_at_s,
            KILLED if ran else None,
            plan.end_reason,
            plan.end_message,
        )
    if now_s >= plan.finishes_at_s:
        state, exit_code, reason, message = _ending(plan)
        return Condition(state, started_at_s, plan.finishes_at_s, exit_code, reason, message)
    if now_s >= plan.starts_at_s:
        return Condition(State.RUNNING, started_at_s)
    return Condition(State.QUEUED if plan.submitted_at_s == NOT_STARTED else State.PENDING)


def _ending(plan: Plan) -> tuple[State, int | None, Reason | None, str]:
    script = plan.script
    if plan.over_limit:
        return State.FAILED, KILLED, Reason.TIME_LIMIT, describe_time_limit(plan.time_limit_s)
    if script.reason:
        state = State.CANCELLED if script.reason is Reason.CANCELLED else State.FAILED
        exit_code = None if script.reason in NEVER_RAN else script.exit_code
        return state, exit_code, script.reason, f"the script says {script.reason}"
    if script.signal:
        return State.FAILED, 128 + script.signal, Reason.SIGNALLED, f"killed by signal {script.signal}"
    if script.exit_code:
        return State.FAILED, script.exit_code, Reason.NONZERO_EXIT, f"exit code {script.exit_code}"
    return State.SUCCEEDED, 0, None, ""
