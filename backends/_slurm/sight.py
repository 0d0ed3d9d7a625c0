"""What is seen of one job: its control folder as it was read, Slurm's listing, and what both mean to the worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backends._hpc.job_folder import JobFolder
from backends._hpc.outcome import Verdict
from backends._slurm.identity import generation_from, identity_from
from backends._slurm.judge import Judgement, Known, Present, goes_on, is_recent, judge, running, waiting
from backends._slurm.start import why_not_begun
from backends._slurm.state import Stage, meaning_of
from backends._slurm.survey import Listing
from backends._slurm.transport import NativeJob
from pman_core.backend import Absent, Handle, Observed, Sighting, Unknown
from pman_core.job import JobSpec
from pman_core.states import State

HANDLE_VERSION = 1


@dataclass(slots=True)
class Sight:
    """One generation."""

    folder: JobFolder
    known: Known
    spec: JobSpec | None = None
    judgement: Judgement | None = None
    """``None`` until :meth:`decide`, unless reading the folder has decided it."""
    left: Observed | None = None
    """What Slurm has not ended yet of a job that has been removed here."""

    def job_ids(self) -> set[int]:
        """Return the ids that Slurm is known to have given; of a claimed job, that of its run."""
        claim = self.known.claim
        names = [noted.native_id for noted in self.known.noted] if claim is None else [claim.native_id]
        return {int(name) for name in names if name.isdigit()}

    def forgotten(self, listing: Listing, now: datetime) -> set[int]:
        """Return the ids that slurmctld does not know any more, of a job whose end has not been told."""
        if self.known.verdict is not None or any(is_recent(noted, now) for noted in self.known.noted):
            return set()
        return self.job_ids() - listing.by_id.keys()

    def decide(self, accounted: Mapping[int, NativeJob], failure: str, now: datetime) -> None:
        """Judge, with what accounting says, or why it cannot be asked."""
        if self.judgement is None:
            # Slurm's numbers begin anew one day.
            mine = {
                job_id: accounted[job_id]
                for job_id in self.job_ids() & accounted.keys()
                if generation_from(accounted[job_id].name) == self.folder.generation
            }
            self.judgement = judge(replace(self.known, accounted=mine, accounting_failed=failure), now)

    def told_of(self, jid: str) -> Sighting:
        """Return what the worker is told that asks for ``jid``."""
        judgement = self.judgement
        if judgement is None:
            return Unknown("not judged")
        if self.left is not None and self.left.jid == jid:
            return self.left
        if isinstance(judgement, Absent | Unknown):
            return judgement
        if self.spec is None or self.spec.jid != jid:
            return Absent()
        return self._observed(judgement)

    def as_owned(self) -> Observed | None:
        """Return the job as a sweep is told of it; ``None`` if there is none.

        What cannot be told of one job must not hide the others: it counts as not ended, which concludes nothing.
        """
        if self.judgement is None or isinstance(self.judgement, Absent):
            return None
        if isinstance(self.judgement, Unknown):
            state = State.PENDING if self.known.claim is None else State.RUNNING
            return self._observed(Present(state, "", self.judgement.why))
        return self._observed(self.judgement)

    def _observed(self, judgement: Verdict | Present) -> Observed:
        spec = self.spec
        observed = Observed(
            jid="" if spec is None else spec.jid,
            generation=self.folder.generation,
            digest="" if spec is None else spec.request.digest,
            state=judgement.state,
            handle=handle_of("" if spec is None else spec.native_name),
            native_state=judgement.native_state,
            message=judgement.message,
            started_at=judgement.started_at,
        )
        if isinstance(judgement, Present):
            return observed
        return replace(
            observed, reason=judgement.reason, exit_code=judgement.exit_code, finished_at=judgement.finished_at
        )


def read_sight(folder: JobFolder, listing: Listing) -> Sight:
    """Read a control folder. Raises ``Unavailable``."""
    listed = listing.by_generation.get(folder.generation, ())
    if not folder.exists() or folder.is_removed():
        left = next(filter(None, map(_going_on, listed)), None)
        return Sight(folder, Known(listed=listed), judgement=Absent(), left=left)
    try:
        verdict = folder.verdict()
    except ValueError as error:
        return Sight(folder, Known(listed=listed), judgement=Unknown(str(error)))
    if verdict is not None:
        # Of the many jobs that ended long ago, a sweep reads no more than it needs.
        known = Known(verdict=verdict, listed=listed)
        if listed:
            known = replace(known, claim=folder.claim(), not_begun=why_not_begun(folder, listed[0].nodes))
    else:
        claim = folder.claim()
        not_begun = why_not_begun(folder, "" if claim is None else claim.host)
        beat_at_s = None if listed else folder.beat_at_s()
        # It tells why a job has ended that no launcher has begun with; a poll does not read it of those that wait.
        said = "" if claim is not None or any(map(goes_on, listed)) else folder.said()
        known = Known(folder.noted(), claim, folder.end(), not_begun, beat_at_s, listed=listed, said=said)
    return Sight(folder, known, folder.spec())


def quick_sighting(jobs: Sequence[NativeJob]) -> Observed | None:
    """Return how a job is of which the listing alone tells enough: one run, not ended, with its comment as it was.

    So a poll reads no file of the jobs that wait, or have begun; and what Slurm has not ended yet is not gone, although
    it has been removed here.
    """
    return _going_on(jobs[0]) if len(jobs) == 1 and not jobs[0].restarts else None


def _going_on(job: NativeJob) -> Observed | None:
    """Return a job of Slurm as its own words tell it; ``None`` if it has ended, or does not say whose it is."""
    identity, meaning = identity_from(job.comment), meaning_of(job.state)
    if identity is None or meaning is None or meaning.stage is Stage.ENDED:
        return None
    present = running(job) if meaning.stage is Stage.RUNS else waiting(job)
    return Observed(
        jid=identity.jid,
        generation=identity.generation,
        digest=identity.digest,
        state=present.state,
        handle=handle_of(job.name),
        native_state=present.native_state,
        message=present.message,
        started_at=present.started_at,
    )


def handle_of(native_name: str) -> Handle:
    """Return the handle of a job: the name by which ``squeue --name`` finds it. The rest is in the control folder."""
    return Handle(HANDLE_VERSION, {"name": native_name})
