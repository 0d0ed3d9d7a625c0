"""What the control folder of a job says, before Cromwell is asked."""

import time
from dataclasses import dataclass

from backends._cromwell.failure import ENDED_FROM_OUTSIDE
from backends._hpc.control import Control
from backends._hpc.job_folder import LOG, REMOVED, SILENCE_S, JobFolder
from backends._hpc.outcome import Claim, End, Verdict
from backends._private_folder import asking
from pman_core.job import JobSpec

SPECS_MAX = 20_000
GONE = "gone"
"""In a tombstone: the workflow has ended, and its execution folder is removed as far as that can be."""
CANCELLED, OVERDUE = "cancelled", "overdue"
"""The native states of those whom we have ended."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One job's folder. Of a removed one there are no more than claim and end, and those not for long."""

    is_there: bool = False
    removed_at_s: float | None = None
    is_gone: bool = False
    """It is removed, and what Cromwell had of it has ended."""
    spec: JobSpec | None = None
    verdict: Verdict | None = None
    claim: Claim | None = None
    has_log: bool = False
    """The launcher has the image, and has begun with the argv."""
    end: End | None = None
    beat_at_s: float | None = None
    """When the launcher said last that it was there."""
    accepted_at_s: float | None = None
    """When Cromwell had accepted the workflow; times are of the storage's clock."""
    damage: str = ""
    """Why the verdict cannot be read."""

    @property
    def is_removed(self) -> bool:
        return self.removed_at_s is not None

    @property
    def is_at_work(self) -> bool:
        """Whether the launcher has said just now that it is there."""
        return self.end is None and self.beat_at_s is not None and time.time() - self.beat_at_s < SILENCE_S

    @property
    def may_run_on(self) -> bool:
        """Whether the job was told to end when it had begun, and its launcher has not said that it did."""
        is_ours = self.verdict is not None and self.verdict.native_state in {CANCELLED, OVERDUE}
        return is_ours and self.verdict is not None and self.verdict.started_at is not None and self.end is None

    @property
    def is_settled(self) -> bool:
        """Whether nothing that Cromwell may say matters any more."""
        if self.is_removed:
            return self.is_gone
        if self.verdict is not None:
            return not self.may_run_on
        return self.end is not None and self.end.exit_code not in ENDED_FROM_OUTSIDE


class FactReader:
    """Reads the folders of one instance; each spec once, as it never changes. Every method may raise Unavailable."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._specs: dict[str, JobSpec] = {}

    def read(self, generation: str) -> Facts:
        folder = self._control.folder(generation)
        if not folder.exists():
            return Facts()
        if folder.is_removed():
            return self._read_tombstone(folder)
        try:
            verdict, damage = folder.verdict(), ""
        except ValueError as error:
            verdict, damage = None, str(error)
        return Facts(
            is_there=True,
            spec=self._spec(folder),
            verdict=verdict,
            claim=folder.claim(),
            has_log=(folder.path / LOG).exists(),
            end=folder.end(),
            beat_at_s=folder.beat_at_s(),
            accepted_at_s=min((note.at_s for note in folder.noted()), default=None),
            damage=damage,
        )

    def mark_gone(self, generation: str) -> None:
        """Note of a removed job that what Cromwell had of it has ended, and remove all else that we had of it."""
        folder = self._control.folder(generation)
        if folder.is_removed():
            self._control.entomb(generation)
            with asking("written"):
                (folder.path / GONE).touch(mode=0o600)

    def _read_tombstone(self, folder: JobFolder) -> Facts:
        with asking("read"):
            try:
                removed_at_s = (folder.path / REMOVED).stat().st_mtime
                is_gone = (folder.path / GONE).exists()
            except FileNotFoundError:  # swept away meanwhile
                return Facts()
        beat_at_s = folder.beat_at_s()
        return Facts(True, removed_at_s, is_gone, claim=folder.claim(), end=folder.end(), beat_at_s=beat_at_s)

    def _spec(self, folder: JobFolder) -> JobSpec | None:
        if (known := self._specs.get(folder.generation)) is not None:
            return known
        if (spec := folder.spec()) is not None:
            if len(self._specs) >= SPECS_MAX:
                self._specs.clear()
            self._specs[folder.generation] = spec
        return spec
