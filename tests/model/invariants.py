"""What must be true in every state of the model. ``docs/state.md`` lists the same names; a test compares the two."""

from enum import StrEnum


class Invariant(StrEnum):
    """The value is the sentence that the documentation says, too."""

    ONCE = "a generation is executed at most once"
    ALONE = "two generations of one jid never run at the same time"
    FINAL = "a terminal record never changes its state, exit code, reason or end"
    FORWARD = "a state never goes back, but from SUBMITTING to QUEUED by the holder of the lease"
    TRUE_END = "the end in the record is the end that the scheduler saw, and what was told to have ended never starts"
    KEPT = "an accepted job has a record until it is deleted or expires"
    TRULY_LOST = "LOST is only what the scheduler does not have"
    HIDDEN = "a deleted generation never comes back into a record"
    GONE = "a generation whose removal is settled never starts"
    SETTLES = "without further faults every record ends and nothing is left of what was deleted"


class Broken(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: Invariant, what: str) -> None:
        super().__init__(f"{invariant.name} ({invariant}): {what}")
        self.invariant = invariant
        self.step: object = None
        """The step that broke it, once it is known."""
