"""Whether a job that Slurm runs has begun: to Slurm it runs as soon as it has a node, and fetches its image there."""

from collections.abc import Iterable
from dataclasses import replace

from backends._hpc.job_folder import CLAIM, FETCHING, LOG, REMOVED, JobFolder
from backends._slurm.transport import NativeJob
from pman_core.backend import Observed, Sighting, Unknown
from pman_core.errors import Unavailable
from pman_core.states import State


class Starts:
    """Looks at the folders of jobs that run, each until it has begun: a poll reads little, however many there are."""

    def __init__(self) -> None:
        self._begun: set[str] = set()

    def seen(self, observed: Observed, folder: JobFolder, job: NativeJob) -> Sighting:
        """Return what is true of a job of which Slurm's word is ``observed``."""
        if observed.state is not State.RUNNING or observed.generation in self._begun:
            return observed
        try:
            why = why_not_begun(folder, job.nodes)
        except Unavailable as error:
            return Unknown(str(error))
        if why:
            return replace(observed, state=State.PENDING, message=observed.message or why, started_at=None)
        self._begun.add(observed.generation)
        return observed

    def keep(self, generations: Iterable[str]) -> None:
        """Forget all but these."""
        # Other threads add to the set meanwhile: it must not be iterated over. What is lost is looked at once more.
        self._begun = self._begun.intersection(generations)


def why_not_begun(folder: JobFolder, where: str) -> str:
    """Return what a job waits for that has a node, for people; ``""``: it has begun, or has been removed.

    Args:
        folder: its control folder.
        where: the node, as far as that is known.

    Raises:
        Unavailable: the folder cannot be read.
    """
    names = folder.names()
    if not names or names & {LOG, REMOVED}:
        return ""
    node = where or "its node"
    if CLAIM not in names:
        return f"{node} has not begun with it yet"
    if FETCHING not in names:
        return f"starting on {node}"
    spec = folder.spec()
    return f"fetching image {'' if spec is None else spec.request.image} on {node}"
