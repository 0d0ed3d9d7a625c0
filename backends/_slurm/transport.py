"""What the backend asks of Slurm, whoever carries it there: the commands, or slurmrestd. The one interface of both.

A transport knows Slurm's words and nothing of pman's states: what they mean is in ``state.py``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SbatchOrder:
    """One batch job. What is ``None`` or ``""`` is not asked for, and the cluster's default counts.

    Every order says, beside what is here: not to be requeued, no mail, and no environment but :attr:`environment`.
    https://slurm.schedmd.com/sbatch.html
    """

    script: str
    """The text of the batch script. It is the same for every job but for one quoted path."""
    name: str
    """``--job-name``: at most 63 characters of ``a-z 0-9 -``; its last 26 are the generation."""
    comment: str
    """``--comment``: see ``identity.py``; printable ASCII without quotes, commas and bars."""
    work_dir: str
    """``--chdir``: an absolute path as the nodes see it."""
    output: str
    """``--output`` and ``--error``: an absolute path; a ``%`` in it is no pattern of Slurm's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the batch script; the job's own is not in it."""
    nodes: int = 1
    """``--nodes``, ``--ntasks``, ``--ntasks-per-node=1``: one task per node."""
    cpus: int | None = None
    """``--cpus-per-task``."""
    memory_mib: int | None = None
    """``--mem``: of each node."""
    gres: str = ""
    """``--gres``, of each node: ``gpu:2``."""
    time_limit_minutes: int | None = None
    """``--time``."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    options: Sequence[tuple[str, str]] = ()
    """Further options of sbatch by their long names, as the site's settings allow them; a flag has the value ``""``."""


@dataclass(frozen=True, slots=True)
class NativeJob:
    """A job in Slurm's own words."""

    job_id: int
    state: str
    """One word of https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES, long or short, as it came
    (``CANCELLED by 1234`` and ``CA+`` too). Where a transport gets several, the one of ``state.chief_state``."""
    name: str = ""
    comment: str = ""
    user: str = ""
    reason: str = ""
    """https://slurm.schedmd.com/job_reason_codes.html; ``None`` is ``""``."""
    exit_status: int | None = None
    """What the batch script exited with, 0-255; ``None`` where Slurm has not said. 125 with ``signal`` 0 is no more
    than a number: want of memory is told by ``state``, or by 0:125, which is ``signal`` 125."""
    signal: int = 0
    """What ended the batch script, the second number of ``ExitCode``; 0: nothing."""
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    """The expected time of a pending job is none: it has not started."""
    finished_at: datetime | None = None
    """Likewise of a running job: it has not ended."""
    nodes: str = ""
    """``n[1-2]``; ``""`` before it runs."""
    restarts: int = 0
    """How often it was requeued."""
    time_limit_minutes: int | None = None
    """What Slurm lets it run, whoever has asked for that; ``None``: without end, or not told."""


class NoAccounting(Exception):
    """This cluster keeps no accounting, so nobody can be asked about jobs that slurmctld has forgotten."""


class Transport(Protocol):
    """How Slurm is reached. Calls may come from several threads; each has a time-out of its own.

    Raises, from every call:
        Unavailable: no answer, or one that says "not now". An order may or may not have been carried out.
        Unparseable: the answer is unknown.
    """

    def open(self) -> None:
        """Find out what is needed to speak. Raises Rejected: this machine can never reach a Slurm this way."""

    def close(self) -> None:
        """Release what ``open`` took. Never raises; may be called twice."""

    def submit(self, order: SbatchOrder) -> int:
        """Submit one job and return its id.

        Raises:
            Rejected: the same order will always be refused; Slurm's own words.
        """

    def jobs(self) -> Sequence[NativeJob]:
        """Return every job of the service user that slurmctld knows, those that ended within MinJobAge too. ONE call.

        The list is complete or an error. Other instances' jobs and strangers' may be in it.
        """

    def accounted(self, job_ids: Collection[int], since: datetime) -> Sequence[NativeJob]:
        """Return what the accounting knows of these jobs, submitted after ``since``. In chunks, not one by one.

        Of a job that was requeued, its last run. A job that is not in the answer is not accounted for (yet).

        Raises:
            NoAccounting: there is none on this cluster.
        """

    def unaccounted(self) -> int:
        """Return how many messages slurmctld has that slurmdbd has not taken yet.

        While there are any, accounting may not have heard of the end of a job that slurmctld has forgotten.
        https://slurm.schedmd.com/sdiag.html ("DBD Agent queue size")
        """

    def cancel(self, job_ids: Collection[int], *, gently: bool = False) -> None:
        """End these jobs: SIGKILL at once; ``gently``, SIGTERM first and SIGKILL after the cluster's KillWait.

        Returns when Slurm has taken the order; unknown jobs and those that have ended are passed over.
        """

    def ping(self) -> str:
        """Ask slurmctld for a sign of life; return what answered and its version, for people."""
