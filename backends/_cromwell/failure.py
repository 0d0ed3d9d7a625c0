"""Why a job has ended that was killed, or of which our launcher says nothing. Pure: tables, tested on recorded words.

The launcher's own word is the truth of an exit code. Cromwell invents one (79) for a job that went without; to Slurm a
job looks COMPLETED even when its command failed, because Cromwell's script ends with an ``mv``.

https://github.com/SchedMD/slurm/blob/slurm-22-05-11-1/src/slurmd/slurmstepd/req.c (what a step is told on its stderr)
"""

import re
from dataclasses import replace
from datetime import timedelta

from backends._cromwell.replies import Account
from backends._cromwell.workflow import NOT_MOUNTED
from backends._exit_codes import KILLED, TERMINATED
from backends._hpc.outcome import Claim, Verdict, state_of_exit
from backends._time_limit import describe_time_limit
from pman_core.states import Reason, State

TEXT_CHARS_MAX = 600
INVENTED_CODES = frozenset({79})
"""``returnCode`` of a call whose job has gone, without a file of it, for longer than ``exit-code-timeout-seconds``."""
LAG = timedelta(seconds=10)
"""So much later than the batch system a launcher may begin to count, whole seconds and all."""
ENDED_FROM_OUTSIDE = frozenset({KILLED, TERMINATED})
"""Exit codes that a batch system causes, too: it says so on the stderr of the call."""

BATCH_WORDS: tuple[tuple[re.Pattern[str], State, Reason, str], ...] = (
    (re.compile(r"DUE TO TIME LIMIT"), State.FAILED, Reason.TIME_LIMIT, "ended by the time limit of the batch system"),
    (re.compile(r"DUE TO NODE FAILURE"), State.FAILED, Reason.NODE_FAIL, "its node failed"),
    (re.compile(r"DUE TO PREEMPTION"), State.FAILED, Reason.NODE_FAIL, "preempted by another job of the cluster"),
    (
        re.compile(r"oom[-_ ]kill|Out Of Memory|[Ee]xceeded (step|job) memory limit"),
        State.FAILED,
        Reason.OOM_KILLED,
        "killed, because it needed more memory than its limit",
    ),
    (re.compile(r"CANCELLED AT"), State.CANCELLED, Reason.CANCELLED, "cancelled in the batch system"),
)
"""What ``slurmstepd`` writes; the first row that matches counts."""

NOT_BEGUN: tuple[tuple[re.Pattern[str], Reason], ...] = (
    (re.compile(r"Workflow input processing failed"), Reason.REJECTED),
    (re.compile(r"Unable to start job\. Check the stderr file"), Reason.REJECTED),
    (re.compile(r"Runtime validation failed|Runtime attribute"), Reason.REJECTED),
)
"""Failures of a workflow whose command has not run; the messages of the whole chain are searched."""


def told_by_batch_system(notes: str, verdict: Verdict, limit_s: float | None) -> Verdict:
    """Return the end of a killed job as the batch system's notes explain it; without any, as it was.

    Args:
        notes: the end of the call's stderr.
        verdict: the end as it looks without them.
        limit_s: the job's own time limit; the batch system may have had another one, which it does not tell.
    """
    for pattern, state, reason, words in BATCH_WORDS:
        if found := pattern.search(notes):
            line = _line_of(notes, found.start())
            is_own_limit = reason is Reason.TIME_LIMIT and _ran_for(verdict, limit_s)
            message = describe_time_limit(limit_s) if is_own_limit else words
            return replace(verdict, state=state, reason=reason, message=f"{message}: {line}")
    return verdict


def explain_kill(account: Account, notes: str, verdict: Verdict, limit_s: float | None) -> Verdict:
    """Return the end of a killed job as the batch system explains it, else Cromwell; if neither does, as it was."""
    told = told_by_batch_system(notes, verdict, limit_s)
    return _aborted(verdict) if told is verdict and account.status in {"Aborting", "Aborted"} else told


def _aborted(verdict: Verdict) -> Verdict:
    return replace(verdict, state=State.CANCELLED, reason=Reason.CANCELLED, message="aborted in Cromwell")


def is_guess(account: Account, notes: str) -> bool:
    """Whether nobody says that the job has ended but Cromwell, which has not found it any more."""
    is_told = any(pattern.search(notes) for pattern, *_ in BATCH_WORDS)
    return not is_told and (account.return_code is None or account.return_code in INVENTED_CODES)


def _ran_for(verdict: Verdict, limit_s: float | None) -> bool:
    """Whether the job has run for as long as that: else it was a shorter limit that has ended it."""
    if limit_s is None or verdict.started_at is None or verdict.finished_at is None:
        return False
    return verdict.finished_at - verdict.started_at >= timedelta(seconds=limit_s) - LAG


def verdict_without_launcher(
    account: Account, claim: Claim | None, notes: str, limit_s: float | None, *, has_begun: bool = True
) -> Verdict:
    """Return how a job has ended of which the launcher says nothing.

    Args:
        account: what Cromwell says of the ended workflow.
        claim: what the launcher said when it began, if it did.
        notes: the end of the call's stderr, as far as it can be read.
        limit_s: the job's own time limit.
        has_begun: whether the launcher came to the job itself; else it was still fetching the image.
    """
    # What has not begun has no time of its own: to Cromwell it is as old as its place in the queue.
    began_at = claim.at if claim is not None and has_begun else None
    bare = Verdict(State.FAILED, Reason.NODE_FAIL, "", account.status, None, began_at, account.ended_at)
    if account.status == "Aborted":
        return _aborted(bare)
    told = told_by_batch_system(notes, bare, None if claim is None else limit_s)
    if told is not bare:
        return told
    cause = _cause(account, notes)
    code = account.return_code
    if claim is None:
        return replace(bare, reason=_reason_not_begun(account), message=f"the job has not begun: {cause}")
    if code is None or code in INVENTED_CODES:
        return replace(bare, message=f"the job was ended from outside, on {claim.host or 'its node'}: {cause}")
    state, reason, message = state_of_exit(code)
    if not has_begun:
        return replace(bare, reason=Reason.START_FAILED, message=f"its launcher did not begin with it: {cause}")
    doubt = "its launcher could not write down its end; the exit code is Cromwell's"
    return replace(
        bare, state=state, reason=reason, exit_code=code, message=f"{message}; {doubt}" if message else doubt
    )


def _reason_not_begun(account: Account) -> Reason:
    chain = "\n".join(account.messages)
    for pattern, reason in NOT_BEGUN:
        if pattern.search(chain):
            return reason
    return Reason.NODE_FAIL if account.return_code == NOT_MOUNTED else Reason.START_FAILED


def _cause(account: Account, notes: str) -> str:
    """Return the causes, the innermost last, without those that say nothing."""
    chain = [text for text in account.messages if text != "Workflow failed"]
    if (code := account.return_code) in INVENTED_CODES:
        chain = [text for text in chain if f"return code {code}" not in text]
        chain.append(f"it left no exit code ({code} is Cromwell's invention)")
    last = notes.strip().rpartition("\n")[2]
    text = ": ".join([*chain, *([last] if last else [])]) or f"Cromwell says {account.status} and no more"
    return text[:TEXT_CHARS_MAX]


def _line_of(text: str, at: int) -> str:
    begin, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    return text[begin : end if end >= 0 else len(text)].strip()[:TEXT_CHARS_MAX]
