"""Every state of Slurm and what it means for us, and the reasons for which a job waits. Pure.

https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES https://slurm.schedmd.com/job_state_codes.html
https://slurm.schedmd.com/sacct.html#SECTION_JOB-STATE-CODES https://slurm.schedmd.com/job_reason_codes.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from pman_core.states import Reason, State


class Stage(Enum):
    """How far a job is."""

    WAITS = auto()
    RUNS = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    stage: Stage
    state: State
    reason: Reason | None = None
    text: str = ""
    """For people, where the state is an end that the job's own exit code does not explain."""


def _ended(state: State, reason: Reason | None, text: str = "") -> Meaning:
    return Meaning(Stage.ENDED, state, reason, text)


WAITS = Meaning(Stage.WAITS, State.PENDING)
RUNS = Meaning(Stage.RUNS, State.RUNNING)

STATES: dict[str, Meaning] = {
    "BOOT_FAIL": _ended(State.FAILED, Reason.NODE_FAIL, "its node could not be booted"),
    "CANCELLED": _ended(State.CANCELLED, Reason.CANCELLED, "cancelled in Slurm"),
    "COMPLETED": _ended(State.SUCCEEDED, None),
    "COMPLETING": RUNS,  # its processes are being ended, or it is: not the end
    "CONFIGURING": WAITS,  # it has nodes, and they are being made ready
    "DEADLINE": _ended(State.FAILED, Reason.TIME_LIMIT, "ended by Slurm at its deadline"),
    "EXPEDITING": WAITS,
    "FAILED": _ended(State.FAILED, Reason.NONZERO_EXIT),
    "LAUNCH_FAILED": _ended(State.FAILED, Reason.START_FAILED, "Slurm could not launch it on its node"),
    "NODE_FAIL": _ended(State.FAILED, Reason.NODE_FAIL, "its node has failed"),
    "OUT_OF_MEMORY": _ended(State.FAILED, Reason.OOM_KILLED, "ended for want of memory"),
    "PENDING": WAITS,
    "POWER_UP_NODE": WAITS,
    "PREEMPTED": _ended(State.FAILED, Reason.NODE_FAIL, "preempted by a job of higher priority"),
    "RECONFIG_FAIL": _ended(State.FAILED, Reason.NODE_FAIL, "its node could not be made ready"),
    "REQUEUED": WAITS,
    "REQUEUE_FED": WAITS,
    "REQUEUE_HOLD": WAITS,
    "RESIZING": RUNS,
    "RESV_DEL_HOLD": WAITS,
    "REVOKED": _ended(State.CANCELLED, Reason.CANCELLED, "revoked: another cluster of the federation has it"),
    "RUNNING": RUNS,
    "SIGNALING": RUNS,
    "SPECIAL_EXIT": WAITS,  # requeued and held
    "STAGE_OUT": RUNS,
    "STOPPED": RUNS,
    "SUSPENDED": RUNS,
    "TIMEOUT": _ended(State.FAILED, Reason.TIME_LIMIT, "ended at its time limit"),
    "UPDATE_DB": RUNS,
}
"""Every state of the manuals."""

SHORT = {
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "CF": "CONFIGURING",
    "CG": "COMPLETING",
    "DL": "DEADLINE",
    "EX": "EXPEDITING",
    "F": "FAILED",
    "LF": "LAUNCH_FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PO": "POWER_UP_NODE",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "RD": "RESV_DEL_HOLD",
    "RE": "RECONFIG_FAIL",
    "RF": "REQUEUE_FED",
    "RH": "REQUEUE_HOLD",
    "RQ": "REQUEUED",
    "RS": "RESIZING",
    "RV": "REVOKED",
    "S": "SUSPENDED",
    "SE": "SPECIAL_EXIT",
    "SI": "SIGNALING",
    "SO": "STAGE_OUT",
    "ST": "STOPPED",
    "TO": "TIMEOUT",
    "UD": "UPDATE_DB",
}

PENDING_REASONS = {
    "AssocGrpCpuLimit": "the account has as many CPUs as it may",
    "AssocGrpMemLimit": "the account has as much memory as it may",
    "AssocMaxJobsLimit": "the account runs as many jobs as it may",
    "BadConstraints": "its constraints can never be met",
    "BeginTime": "its time has not come yet",
    "BurstBufferResources": "the burst buffer is full",
    "Cleaning": "its last run is being cleaned up",
    "Dependency": "a job before it has not ended",
    "DependencyNeverSatisfied": "a job before it has failed: it will never start",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its QOS is not valid",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held",
    "Licenses": "a license is not free",
    "NodeDown": "a node it needs is down",
    "None": "it has not been looked at yet",
    "PartitionConfig": "the partition does not allow such a job",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed",
    "PartitionNodeLimit": "the partition does not give so many nodes",
    "PartitionTimeLimit": "the partition does not give so much time",
    "Priority": "jobs of higher priority come first",
    "Prolog": "its prolog runs",
    "QOSGrpCpuLimit": "the QOS has as many CPUs as it may",
    "QOSJobLimit": "the QOS runs as many jobs as it may",
    "QOSMaxCpuPerUserLimit": "the QOS gives no more CPUs to one user",
    "QOSMaxJobsPerUserLimit": "the QOS runs no more jobs of one user",
    "QOSMaxMemoryPerUser": "the QOS gives no more memory to one user",
    "QOSResourceLimit": "the QOS has as much as it may",
    "ReqNodeNotAvail": "a node it needs is not available",
    "Reservation": "its reservation has not begun",
    "Resources": "no node is free for it yet",
    "ResourcesNotAvail": "no node is free for it yet",
    "launch failed requeued held": "a node could not launch it; Slurm holds it until an administrator releases it",
}
"""The usual ones in words; Slurm's own word is told in any case."""


def meaning_of(state: str) -> Meaning | None:
    """Return what a state means, whether it is long or short or with something behind it; ``None``: unknown.

    ``CANCELLED by 1234``, ``CANCELLED+``, ``CA+``: the plus stands for what a column had no room for.
    """
    return STATES.get(word_of(state))


def word_of(state: str) -> str:
    """Return the long word of a state."""
    words = state.split()
    word = words[0].rstrip("+") if words else ""
    return SHORT.get(word, word)


def cancelled_by(state: str) -> str:
    """Return who it was that cancelled the job, if Slurm says so: ``CANCELLED by 1234`` is user 1234."""
    _, _, who = state.partition(" by ")
    return who.strip()


def chief_state(words: Sequence[str]) -> str:
    """Return of several states of one job, as newer releases tell them, the one that counts.

    A job with the flag COMPLETING is not over; one with REQUEUED, or the like, is on its way back into the queue.
    """
    flags = ("COMPLETING", "REQUEUE_HOLD", "SPECIAL_EXIT", "REQUEUE_FED", "REQUEUED", "CONFIGURING", "RESIZING")
    return next((flag for flag in flags if flag in words), words[0] if words else "")


def why_it_waits(reason: str) -> str:
    """Return a pending reason for people."""
    word = reason or "None"
    # "ReqNodeNotAvail, UnavailableNodes:n1" and "(Resources)" come, too.
    key = word.strip("()").split(",")[0]
    words = PENDING_REASONS.get(key)
    return f"waiting in Slurm: {word.strip('()')}" + (f" ({words})" if words else "")
