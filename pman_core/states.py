"""The states of a job and the only table that says which change is possible.

``store.advance`` refuses every edge that is not in :data:`SOURCES`; nothing else may write a state.
The diagram with its reasons is in ``docs/state.md``.
"""

from enum import StrEnum


class State(StrEnum):
    """What pman knows of a job. The order is the order of life; a job only ever moves forward."""

    QUEUED = "QUEUED"  # accepted, waiting for a worker (or for the next attempt)
    SUBMITTING = "SUBMITTING"  # a worker holds the submit lease
    PENDING = "PENDING"  # the scheduler has it, it does not run yet
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"  # ended on request or by an administrator
    LOST = "LOST"  # the scheduler answered several times that it knows nothing of the job


WAITING = frozenset({State.QUEUED, State.SUBMITTING})
NATIVE = frozenset({State.PENDING, State.RUNNING})
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST})

SOURCES: dict[State, frozenset[State]] = {
    # QUEUED is only re-entered by the holder of the submit lease, after a transient error.
    State.QUEUED: frozenset({State.SUBMITTING}),
    # SUBMITTING to SUBMITTING is a new lease over an expired one.
    State.SUBMITTING: WAITING,
    # PENDING to PENDING and RUNNING to RUNNING refresh message and native state.
    State.PENDING: WAITING | {State.PENDING},
    State.RUNNING: WAITING | NATIVE,
    **dict.fromkeys(TERMINAL, WAITING | NATIVE),
}
"""For each state, the states it may be entered from."""

WIRE_STATUS: dict[State, str] = {
    State.QUEUED: "notstarted",
    State.SUBMITTING: "notstarted",
    State.PENDING: "notstarted",
    State.RUNNING: "started",
    State.SUCCEEDED: "finishedSuccessfully",
    State.FAILED: "finishedWithError",
    State.CANCELLED: "finishedWithError",
    State.LOST: "undefined",  # clients treat it as the end of the job: never for anything transient
}
"""The spelling that pfcon 5 and CUBE expect in ``status``."""


class Reason(StrEnum):
    """Machine-readable cause of a terminal state that is not a plain success."""

    NONZERO_EXIT = "NONZERO_EXIT"
    SIGNALLED = "SIGNALLED"
    OOM_KILLED = "OOM_KILLED"
    TIME_LIMIT = "TIME_LIMIT"
    NODE_FAIL = "NODE_FAIL"
    IMAGE_PULL = "IMAGE_PULL"
    START_FAILED = "START_FAILED"
    REJECTED = "REJECTED"
    CONFLICT = "CONFLICT"
    REQUEUED = "REQUEUED"
    POISON = "POISON"
    CANCELLED = "CANCELLED"
    VANISHED = "VANISHED"
