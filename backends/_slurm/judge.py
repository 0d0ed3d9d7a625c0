"""What is true of a job, from everything that is known of it: Slurm's word, accounting, the control folder. Pure.

The order of belief: a verdict that was told; Slurm, for as long as it says that the job runs; at the end both, since
Slurm alone knows of limits, nodes and administrators, and the launcher alone of the job's own exit code and of what
kept it from beginning. A job that is in no listing is neither over nor lost for that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from backends._exit_codes import KILLED, TERMINATED
from backends._hpc.job_folder import SILENCE_S, Noted
from backends._hpc.launcher import NOT_MOUNTED, NOT_OURS, OWN_FAULT
from backends._hpc.outcome import Claim, End, Verdict, state_of_exit, verdict_of
from backends._slurm.state import Meaning, Stage, cancelled_by, meaning_of, why_it_waits, word_of
from backends._slurm.transport import NativeJob
from backends._time_limit import describe_time_limit
from pman_core.backend import Absent, Unknown
from pman_core.states import Reason, State

JUST_SUBMITTED = timedelta(seconds=60)
"""So long an id that is in no listing counts as one that is not listed yet."""
VISIBLE = timedelta(seconds=60)
"""So long what the launcher wrote may take to be seen from here, on a file system that keeps what it has read."""
SIGNAL_BASE = 128
"""What an exit code has above it is the signal that ended the command."""
ENDED_BY_SLURM = frozenset({KILLED, TERMINATED})
"""What a job's exit code is when Slurm has ended it: whose node has failed, or who is preempted, hears it, too."""
UNSEEN_ENDS = frozenset({"BOOT_FAIL", "NODE_FAIL", "RECONFIG_FAIL"})
"""States of jobs of whose end on their nodes Slurm knows nothing. 0:1 comes with a step that its node has lost."""
PROLOG_FAILED = "Error running slurm prolog"
"""What a node writes into the output of a job whose prolog has failed."""
NOT_A_SIGNAL = frozenset({53, 125})
"""Slurm's own numbers where a signal is meant to be: the batch script could not be started; want of memory."""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of one generation."""

    noted: Sequence[Noted] = ()
    claim: Claim | None = None
    end: End | None = None
    not_begun: str = ""
    """What the job waits for on its node; ``""``: it has begun there, if it has one."""
    beat_at_s: float | None = None
    """When the launcher of a job that slurmctld does not know has said last that it is there."""
    verdict: Verdict | None = None
    listed: Sequence[NativeJob] = ()
    accounted: Mapping[int, NativeJob] = field(default_factory=dict)
    accounting_failed: str = ""
    """Why accounting can say nothing; ``""`` if it was asked and knows all, or if there is none."""
    said: str = ""
    """What Slurm has written into the output of a job that its node has not launched."""


@dataclass(frozen=True, slots=True)
class Present:
    """A job that has not ended, or that will not begin by itself (QUEUED)."""

    state: State
    native_state: str
    message: str = ""
    started_at: datetime | None = None


Judgement = Verdict | Present | Absent | Unknown


def judge(known: Known, now: datetime) -> Judgement:
    """Return what is true of a generation that has a control folder."""
    if known.verdict is not None:
        return _after_verdict(known, known.verdict)
    job = _the_run(known)
    # Accounting has an end for whom slurmctld has lost, too (``slurmctld -c``, ``sacctmgr show runawayjobs``).
    if job is None or (job not in known.listed and known.end is None and _is_there(known, now)):
        return _unlisted(known, now)
    meaning = meaning_of(job.state)
    if meaning is None:
        return Unknown(f"Slurm says {job.state!r} of job {job.job_id}")
    # A claim may be younger than the listing; only a later restart tells that the run which made it is over.
    before = _claim_before(known, job)
    if meaning.stage is Stage.RUNS:
        present = running(job, known.not_begun)
        # While the first run is being ended, Slurm tells of the next one that it starts just now, at every look.
        return present if before is None else replace(present, started_at=before.at)
    if before is not None:
        return _requeued(known, before, job)
    return waiting(job) if meaning.stage is Stage.WAITS else _ended(known, job, meaning, now)


def waiting(job: NativeJob) -> Present:
    """Return how a job is that waits in Slurm's queue."""
    return Present(State.PENDING, word_of(job.state), why_it_waits(job.reason))


def running(job: NativeJob, not_begun: str = "") -> Present:
    """Return how a job is that has a node. It is PENDING for as long as it has not begun there."""
    word = word_of(job.state)
    message = "" if word == "RUNNING" else f"{word} in Slurm"
    if not_begun:
        return Present(State.PENDING, word, message or not_begun)
    return Present(State.RUNNING, word, message, job.started_at)


def _after_verdict(known: Known, verdict: Verdict) -> Judgement:
    """An end is told when nothing runs any more; until then it has only been ordered."""
    for job in known.listed:
        meaning = meaning_of(job.state)
        is_ours = known.claim is None or known.claim.native_id == str(job.job_id)
        if is_ours and meaning is not None and meaning.stage is Stage.RUNS:
            return replace(running(job, known.not_begun), message="it is being ended")
    return verdict


def _the_run(known: Known) -> NativeJob | None:
    """Return which of Slurm's jobs counts: the one that has claimed the generation, else one that has not ended.

    Of a job that slurmctld does not know, accounting can only tell the end: where it waits for one, it missed it.
    """
    jobs = {job_id: job for job_id, job in known.accounted.items() if not goes_on(job)}
    jobs |= {job.job_id: job for job in known.listed}
    if known.claim is not None:
        claimed = known.claim.native_id
        return jobs.get(int(claimed)) if claimed.isdigit() else None
    candidates = [(job, meaning) for job in jobs.values() if (meaning := meaning_of(job.state)) is not None]
    unknown = [job for job in jobs.values() if meaning_of(job.state) is None]
    order = {Stage.RUNS: 0, Stage.WAITS: 1, Stage.ENDED: 2}
    # Of two that ended without a claim, the one that ran to some end tells more than the one that found nothing to do.
    ranked = sorted(
        candidates, key=lambda pair: (order[pair[1].stage], pair[0].exit_status == NOT_OURS, -pair[0].job_id)
    )
    return ranked[0][0] if ranked else unknown[0] if unknown else None


def goes_on(job: NativeJob) -> bool:
    """Whether a job has not ended, as far as its state is known."""
    meaning = meaning_of(job.state)
    return meaning is not None and meaning.stage is not Stage.ENDED


def _unlisted(known: Known, now: datetime) -> Judgement:
    """Neither slurmctld nor accounting has told anything of the job."""
    is_new = any(is_recent(noted, now) for noted in known.noted) or (
        known.claim is not None and known.claim.at is not None and abs(now - known.claim.at) < JUST_SUBMITTED
    )
    told = None if known.end is None or is_new else verdict_of(known.end)
    # Why a job was killed, Slurm alone knows: where it keeps accounts, they are waited for.
    if told is not None and not (known.accounting_failed and told.exit_code in ENDED_BY_SLURM):
        return told
    if not is_new and known.claim is not None and known.end is None and _is_there(known, now):
        if known.not_begun:
            return Present(State.PENDING, "", f"Slurm does not know it; {known.not_begun}")
        where = known.claim.host
        return Present(State.RUNNING, "", f"Slurm does not know it; its launcher is there, on {where}", known.claim.at)
    if known.accounting_failed:
        return Unknown(f"slurmctld does not know the job any more, and {known.accounting_failed}")
    if not known.noted and known.claim is None:
        return Present(State.QUEUED, "prepared", "not handed to Slurm yet")
    if is_new:
        if known.claim is not None and known.not_begun:
            return Present(State.PENDING, "RUNNING", known.not_begun)
        if known.claim is not None:
            return Present(State.RUNNING, "RUNNING", "", known.claim.at)
        return Present(State.PENDING, "PENDING", why_it_waits(""))
    return Absent()


def _is_there(known: Known, now: datetime) -> bool:
    """Whether the launcher of a job that slurmctld does not know has said just now that it is there."""
    return known.claim is not None and known.beat_at_s is not None and now.timestamp() - known.beat_at_s < SILENCE_S


def is_recent(noted: Noted, now: datetime) -> bool:
    """Whether an id was given so lately that a listing may be older."""
    return abs(now - datetime.fromtimestamp(noted.at_s, UTC)) < JUST_SUBMITTED


def _claim_before(known: Known, job: NativeJob) -> Claim | None:
    """Return the claim if an earlier run of the same job made it, and this run is one that the launcher refuses."""
    claim, end = known.claim, known.end
    if claim is None or claim.native_id != str(job.job_id):
        return None
    # Accounting does not count restarts. A refused run leaves the end of the first one as it is. One that is cancelled
    # in the queue has no node, and the code and the reason of the first.
    is_told = end is not None and (end.cause == "requeued" or end.exit_code not in {None, NOT_OURS})
    is_refused = job.exit_status == NOT_OURS and is_told
    is_nowhere = not job.nodes and word_of(job.state) == "CANCELLED"
    return claim if job.restarts > claim.restarts or is_refused or is_nowhere else None


def _requeued(known: Known, claim: Claim, job: NativeJob) -> Verdict:
    """Return how the run that was claimed has ended: by itself, or because Slurm killed it for the next one."""
    if known.end is not None and known.end.exit_code is not None and known.end.exit_code <= SIGNAL_BASE:
        told = verdict_of(known.end)
        if told is not None:
            return told
    message = f"it was requeued in Slurm after it had begun on {claim.host}, and is not run again"
    return Verdict(State.FAILED, Reason.REQUEUED, message, word_of(job.state), None, claim.at, job.finished_at)


def _ended(known: Known, job: NativeJob, meaning: Meaning, now: datetime) -> Judgement:
    end = known.end if known.end is None or known.end.native_id == str(job.job_id) else None
    word = word_of(job.state)
    had_ended = end is not None and end.exit_code not in ENDED_BY_SLURM
    if word in {"FAILED", "COMPLETED"} or (meaning.reason is Reason.NODE_FAIL and had_ended):
        verdict = _by_exit(end, known, job, now)
    elif why := _why_not_launched(known, job, meaning):
        verdict = Verdict(State.FAILED, Reason.START_FAILED, why)
    else:
        code = _exit_code(end, known, job, word)
        verdict = Verdict(meaning.state, meaning.reason, _message(known, meaning, job), word, code)
    if not isinstance(verdict, Verdict):
        return verdict
    finished_at = job.finished_at or (end.finished_at if end is not None else None)
    started_at = job.started_at or (end.started_at if end is not None else None)
    if known.not_begun and verdict.exit_code is None:
        started_at = None  # Slurm tells when it had a node, and of one that never had any, when it was cancelled
    if started_at is not None and finished_at is not None:
        started_at = min(started_at, finished_at)
    return replace(verdict, native_state=job.state, started_at=started_at, finished_at=finished_at)


def _why_not_launched(known: Known, job: NativeJob, meaning: Meaning) -> str:
    """Return why Slurm itself has cancelled a job that its node did not launch; ``""``: it has not.

    It does so because the job may not be requeued: when the prolog of the node fails, and when slurmctld, to which the
    node did not answer in time, has put the job into the queue again, and the node gives it back then.
    ``_launch_job_fail`` of https://github.com/SchedMD/slurm/blob/slurm-22.05/src/slurmd/slurmd/req.c
    """
    if meaning.state is not State.CANCELLED or known.claim is not None or not known.not_begun or not job.nodes:
        return ""
    if failed := next((line for line in known.said.splitlines() if line.startswith(PROLOG_FAILED)), ""):
        return f"{job.nodes} did not launch it: {failed}"
    return f"cancelled in Slurm, after {job.nodes} had not launched it" if job.restarts else ""


def _message(known: Known, meaning: Meaning, job: NativeJob) -> str:
    if word_of(job.state) == "TIMEOUT":
        return describe_time_limit(None if job.time_limit_minutes is None else job.time_limit_minutes * 60)
    parts = [meaning.text]
    if who := cancelled_by(job.state):
        parts.append(f"by user {who}")
    if meaning.reason is Reason.NODE_FAIL and job.nodes:
        parts.append(f"({job.nodes})")
    if known.not_begun and (meaning.state is State.CANCELLED or meaning.reason is Reason.NODE_FAIL):
        # By somebody, or because the node could not launch it: with PrologFlags=Alloc nothing tells the two apart.
        is_unlaunched = known.claim is None and job.nodes
        parts.append(f"before {job.nodes} had launched it" if is_unlaunched else "before it began")
    return " ".join(parts)


def _by_exit(end: End | None, known: Known, job: NativeJob, now: datetime) -> Judgement:
    """Return the end of a job of which Slurm knows no more than how the batch script ended."""
    if end is not None and (told := verdict_of(end)) is not None:
        return told
    status = job.exit_status
    is_not_mounted = status == NOT_MOUNTED and known.claim is None
    is_number = job.signal in NOT_A_SIGNAL or (job.reason == "JobLaunchFailure" and not job.signal)
    if is_number or (status is None and not job.signal) or is_not_mounted:
        where = f"{job.nodes or 'a node'} ({job.reason or job.state})"
        text = f"Slurm could not start the batch script on {where}: is the store mounted there?"
        return Verdict(State.FAILED, Reason.START_FAILED, text)
    is_explained_there = bool(status) and (known.end is None or status in {NOT_OURS, OWN_FAULT})
    is_unseen = bool(known.not_begun and (status or job.signal))
    is_young = job.finished_at is None or now - job.finished_at < VISIBLE
    if is_young and (is_explained_there or is_unseen):
        # What it stands for is in the control folder, and not to be seen from here yet.
        return Unknown(f"the control folder does not show yet how job {job.job_id} ended")
    code = SIGNAL_BASE + job.signal if job.signal else status or 0
    state, reason, message = state_of_exit(code)
    if status in {NOT_OURS, OWN_FAULT}:
        return Verdict(State.FAILED, Reason.START_FAILED, f"the launcher ended with {status} and left no word of why")
    if is_unseen:
        # A task plugin of the node, perhaps: the code is not the job's.
        return Verdict(State.FAILED, Reason.START_FAILED, f"its launcher ended before the job began: {message}")
    return Verdict(state, reason, message, exit_code=code)


def _exit_code(end: End | None, known: Known, job: NativeJob, word: str) -> int | None:
    """Return the exit code of a job that Slurm has ended.

    Of one that has not begun, or whose end on its node Slurm has not seen, the code in the listing is made up.
    """
    if end is not None and end.exit_code is not None:
        return end.exit_code
    if known.not_begun or word in UNSEEN_ENDS:
        return None
    if job.signal == 125:
        return KILLED
    return SIGNAL_BASE + job.signal if job.signal and job.signal not in NOT_A_SIGNAL else None
