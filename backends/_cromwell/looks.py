"""From a job's control folder and its workflow to what pman is told of it: the one place where the two are weighed.

==============================  ==============================  ====================================================
the control folder says         Cromwell says                   then the job is
==============================  ==============================  ====================================================
its end was told once           anything                        what was told; RUNNING while it is being killed
the launcher has ended          anything                        what it says; if killed, what the call's stderr says,
                                                                which is waited for; else that Cromwell aborted it
the launcher has begun          active                          RUNNING; PENDING while it fetches the image
taken, not begun                active                          PENDING
taken, begun or not             Failed, Succeeded, Aborted      ended; the launcher's last word is waited for
begun by another run            Failed, with ``NOT_OURS``       RUNNING: what Cromwell saw end was a second run
the launcher is at work         Failed, without a code          RUNNING: ``check-alive`` failed, not the job
accepted, not begun             nothing, for ``WINDOW_S``       PENDING
accepted, not begun             nothing, for longer             Absent
accepted, begun                 nothing, for longer             Unknown: it may run, and its launcher will say
taken, not known as accepted    nothing                         QUEUED: another submit brings it on
removed                         active, or nothing just yet     RUNNING: being ended
removed, launcher at work       Failed, or nothing              RUNNING: the launcher is ending it
removed                         ended, or nothing               Absent
nothing                         a workflow of ours              as far as Cromwell can tell
nothing                         nothing                         Absent
==============================  ==============================  ====================================================

"Active" is Submitted, On Hold, Running and Aborting: none of them is an end.
https://github.com/broadinstitute/cromwell/blob/92/core/src/main/scala/cromwell/core/WorkflowState.scala
"""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from backends._cromwell.client import Client
from backends._cromwell.errors import NotThere
from backends._cromwell.execution import bury, notes
from backends._cromwell.facts import FactReader, Facts
from backends._cromwell.failure import ENDED_FROM_OUTSIDE, explain_kill, is_guess, verdict_without_launcher
from backends._cromwell.replies import Account, Workflow
from backends._cromwell.workflow import workflow_id
from backends._hpc.control import Control
from backends._hpc.launcher import NOT_OURS
from backends._hpc.outcome import Verdict, verdict_of
from pman_core.backend import Absent, Handle, Observed, Sighting, Unknown
from pman_core.errors import Unavailable, Unparseable
from pman_core.settings import Settings
from pman_core.states import State

log = logging.getLogger(__name__)

HANDLE_VERSION = 1
WINDOW_S = 300.0
"""So long after its submit a workflow may be unknown to queries: 5 s were seen of an idle server, and what queries
are answered from is brought up to date some thousand entries at a time."""
LAST_WORD_S = 10.0
"""So long the launcher's word is waited for when Cromwell says that a job has ended: storage shows files late. So long
the batch system's is, of a job that was killed."""
ACCOUNTS_MAX = 20
"""So many ended workflows are looked at closely in one call; the others are Unknown until the next."""
NOTES_BYTES_MAX = 16 * 1024
WAITING = {
    "Submitted": "waits for Cromwell to start it",
    "On Hold": "held in Cromwell by somebody: release it there",
    "Running": "Cromwell has started it; no node has begun with it yet",
    "Aborting": "being aborted by Cromwell",
}


def handle_of(native_id: str) -> Handle:
    return Handle(HANDLE_VERSION, {"workflow": native_id})


@dataclass
class Looks:
    """The looks of one call at many jobs, over one answer of Cromwell."""

    common: Settings
    client: Client
    control: Control
    reader: FactReader
    workflows: Mapping[str, Workflow]
    accounts_left: int = ACCOUNTS_MAX

    def sight(self, jid: str, generation: str, facts: Facts) -> Sighting:
        native_id = workflow_id(self.common.pman_instance, jid, generation)
        workflow = self.workflows.get(native_id)
        bare = Observed(jid, generation, _digest_of(facts, workflow), State.PENDING, handle_of(native_id))
        if not facts.is_there:
            return Absent() if workflow is None else self._without_folder(bare, workflow)
        if facts.is_removed:
            return self._removed(bare, workflow, facts)
        if facts.spec is not None and facts.spec.jid != jid:
            return Absent()
        if facts.damage:
            return Unknown(facts.damage)
        if facts.verdict is not None:
            if facts.may_run_on and _goes_on(workflow, facts):
                return _begun(bare, facts, workflow, "has been told to end, and has not ended yet")
            return _ended(bare, facts.verdict)
        if facts.end is not None:
            return self._by_launcher(bare, workflow, facts)
        if workflow is None:
            return _unseen(bare, facts)
        if not workflow.has_ended:
            return _active(bare, facts, workflow)
        return self._by_cromwell(bare, workflow, facts)

    def observed(self, jid: str, generation: str, facts: Facts) -> Observed:
        """Return the look at a job that is there, even if nothing is certain of it but that."""
        sighting = self.sight(jid, generation, facts)
        if isinstance(sighting, Observed):
            return sighting
        native_id = workflow_id(self.common.pman_instance, jid, generation)
        digest = _digest_of(facts, self.workflows.get(native_id))
        bare = Observed(jid, generation, digest, State.PENDING, handle_of(native_id))
        why = sighting.why if isinstance(sighting, Unknown) else "Cromwell does not know it"
        return replace(bare, message=why) if facts.claim is None else _begun(bare, facts, None, why)

    def _removed(self, bare: Observed, workflow: Workflow | None, facts: Facts) -> Sighting:
        if facts.is_gone:
            return Absent()
        is_fresh = facts.removed_at_s is not None and time.time() - facts.removed_at_s < WINDOW_S
        if (workflow is None and is_fresh) or (workflow is not None and not workflow.has_ended):
            native_state = "" if workflow is None else workflow.status
            return replace(bare, state=State.RUNNING, native_state=native_state, message="removed; being ended")
        if facts.is_at_work and (workflow is None or workflow.status == "Failed"):
            return _running(bare, facts, workflow, "removed; its launcher is ending it")
        if workflow is not None:
            with suppress(NotThere, Unparseable):
                bury(workflow.id, self.client.account(workflow.id))
        with suppress(Unavailable):
            self.reader.mark_gone(bare.generation)
        return Absent()

    def _by_launcher(self, bare: Observed, workflow: Workflow | None, facts: Facts) -> Sighting:
        verdict = None if facts.end is None else verdict_of(facts.end)
        if facts.end is None or verdict is None:
            return Unknown("its launcher, of a newer release, has ended with words that are not known here")
        if facts.end.exit_code in ENDED_FROM_OUTSIDE:
            # A batch system may say why only when the job has ended, after Cromwell has heard of that.
            is_young = _age_s(facts.end.finished_at) < LAST_WORD_S
            unexplained = _running(bare, facts, workflow, "killed; why is not known yet")
            if is_young and (workflow is None or not workflow.has_ended):
                return unexplained
            if workflow is not None:
                account = self._account(workflow)
                if isinstance(account, Unknown):
                    return account
                said = notes(workflow.id, account, NOTES_BYTES_MAX)
                explained = explain_kill(account, said, verdict, self._limit_s(facts))
                if is_young and explained is verdict:
                    return unexplained
                verdict = explained
        return _ended(bare, self._written(bare.generation, verdict))

    def _by_cromwell(self, bare: Observed, workflow: Workflow, facts: Facts) -> Sighting:
        facts = self._read_again(bare.generation)
        if facts.is_removed or not facts.is_there:
            return Unknown("removed while it was looked at")
        if facts.verdict is not None:
            return _ended(bare, facts.verdict)
        if facts.end is not None:
            return self._by_launcher(bare, workflow, facts)
        is_expected = facts.claim is not None or workflow.status == "Succeeded"
        if is_expected and _age_s(workflow.ended_at) < LAST_WORD_S:
            said = f"Cromwell says {workflow.status}; the launcher's word is waited for"
            return _begun(bare, facts, workflow, said)
        account = self._account(workflow)
        if isinstance(account, Unknown):
            return account
        if facts.claim is not None and account.return_code == NOT_OURS:
            # A Cromwell that was killed may submit a call anew. What has left is that second run, not the first one.
            return _begun(bare, facts, workflow, _lost_sight_of(facts))
        said = notes(workflow.id, account, NOTES_BYTES_MAX)
        verdict = verdict_without_launcher(account, facts.claim, said, self._limit_s(facts), has_begun=facts.has_log)
        if facts.is_at_work and account.status == "Failed" and is_guess(account, said):
            # A scheduler that does not answer ``check-alive`` once makes Cromwell give up a job.
            return _begun(bare, facts, workflow, _lost_sight_of(facts))
        return _ended(bare, self._written(bare.generation, verdict))

    def _account(self, workflow: Workflow) -> Account | Unknown:
        """Ask how a workflow went, of a few in one call."""
        if self.accounts_left <= 0:
            return Unknown("not looked at closely yet")
        self.accounts_left -= 1
        try:
            return self.client.account(workflow.id)
        except (Unavailable, Unparseable) as error:
            return Unknown(str(error))

    def _written(self, generation: str, verdict: Verdict) -> Verdict:
        """Write an end down, unless it was told before; return what is told from now on."""
        try:
            return self.control.put_verdict(generation, verdict)
        except Unavailable as error:  # a full disk does not change the truth
            log.warning("the end of generation %s is not written down: %s", generation, error)
            return verdict

    def _read_again(self, generation: str) -> Facts:
        """Read the folder after Cromwell has answered. To list it first makes NFS forget what was not there before."""
        with suppress(OSError):
            os.listdir(self.control.folder(generation).path)  # noqa: PTH208 - only the call itself is wanted
        return self.reader.read(generation)

    def _without_folder(self, bare: Observed, workflow: Workflow) -> Sighting:
        """Of a job whose control folder is lost, Cromwell's word has to do."""
        if not workflow.has_ended:
            state = State.RUNNING if workflow.status in {"Running", "Aborting"} else State.PENDING
            return replace(bare, state=state, native_state=workflow.status, started_at=workflow.started_at)
        account = self._account(workflow)
        if isinstance(account, Unknown):
            return account
        said = notes(workflow.id, account, NOTES_BYTES_MAX)
        return _ended(bare, verdict_without_launcher(account, None, said, None))

    def _limit_s(self, facts: Facts) -> float | None:
        return None if facts.spec is None else self.common.time_limit_s(facts.spec.request.time_limit_minutes)


def _digest_of(facts: Facts, workflow: Workflow | None) -> str:
    if facts.spec is not None:
        return facts.spec.request.digest
    identity = None if workflow is None else workflow.identity
    return "" if identity is None else identity.digest


def _unseen(bare: Observed, facts: Facts) -> Sighting:
    """A job that Cromwell does not show: not yet, or not any more, or it has never got it."""
    if facts.accepted_at_s is None:
        if facts.claim is not None:
            return _begun(bare, facts, None, "")
        return replace(bare, state=State.QUEUED, message="not known to have reached Cromwell")
    if time.time() - facts.accepted_at_s < WINDOW_S:
        message = "accepted by Cromwell, which does not show it yet"
        if facts.claim is not None:
            return _begun(bare, facts, None, "")
        return replace(bare, message=message)
    if facts.claim is not None:
        return Unknown(f"Cromwell does not know it any more; it was begun on {facts.claim.host}")
    return Absent()


def _active(bare: Observed, facts: Facts, workflow: Workflow) -> Observed:
    if facts.claim is None:
        return replace(bare, native_state=workflow.status, message=WAITING.get(workflow.status, ""))
    return _begun(bare, facts, workflow, WAITING["Aborting"] if workflow.status == "Aborting" else "")


def _begun(bare: Observed, facts: Facts, workflow: Workflow | None, message: str) -> Observed:
    """A job whose launcher has begun: it runs as soon as its image is there."""
    begun = _running(bare, facts, workflow, message)
    if facts.has_log or facts.claim is None:
        return begun
    message = message or f"its image is being fetched on {facts.claim.host}"
    return replace(begun, state=State.PENDING, started_at=None, message=message)


def _running(bare: Observed, facts: Facts, workflow: Workflow | None, message: str) -> Observed:
    native_state = "" if workflow is None else workflow.status
    started_at = None if facts.claim is None else facts.claim.at
    return replace(bare, state=State.RUNNING, native_state=native_state, message=message, started_at=started_at)


def _ended(bare: Observed, verdict: Verdict) -> Observed:
    return replace(
        bare,
        state=verdict.state,
        native_state=verdict.native_state,
        message=verdict.message,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        started_at=verdict.started_at,
        finished_at=verdict.finished_at,
    )


def _goes_on(workflow: Workflow | None, facts: Facts) -> bool:
    """Whether a job that was told to end may run: one that Cromwell has given up is ended by its launcher alone."""
    if workflow is None or not workflow.has_ended:
        return True
    return workflow.status == "Failed" and facts.is_at_work


def _lost_sight_of(facts: Facts) -> str:
    where = "" if facts.claim is None else f" as job {facts.claim.native_id} on {facts.claim.host}"
    return f"Cromwell has lost sight of it; it goes on{where}"


def _age_s(moment: datetime | None) -> float:
    return float("inf") if moment is None else (datetime.now(UTC) - moment).total_seconds()
