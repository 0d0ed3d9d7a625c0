"""The protocol with one of its rules switched off, each time: the proof that the model can fail.

``breaks`` is the invariant that the explorer must find broken within ``scenario``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from pman_core.store import memory
from pman_core.store.memory import MemoryStore
from pman_core.store.policy import Policy
from pman_worker import lifecycle, reconcile, sightings
from pman_worker.observer import Observer
from tests.model import mutants
from tests.model.invariants import Invariant
from tests.model.point import Scenario
from tests.model.programs import Setup


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule less: ``mutant`` in the place of the ``attribute`` of ``owner``."""

    name: str
    breaks: Invariant
    scenario: Scenario
    owner: object
    attribute: str
    mutant: Any

    @contextmanager
    def applied(self) -> Iterator[None]:
        original = getattr(self.owner, self.attribute, None)

        def changed(*args: Any, **options: Any) -> Any:
            return self.mutant(original, *args, **options)

        # A function of the language is put into the module that calls it.
        with patch.object(self.owner, self.attribute, changed if callable(self.mutant) else self.mutant, create=True):
            yield


def within(
    *orders: str,
    setup: Setup | None = None,
    workers: int = 1,
    observers: int = 1,
    has_job: bool = False,
    **budget: int,
) -> Scenario:
    """One client that asks for ``orders``; names of faults have ``_`` for a space."""
    faults = {name.replace("_", " "): count for name, count in budget.items()}
    return Scenario("mutation", (orders,), faults, setup or Setup.of(), workers, observers, has_job)


DELETED = ("POST a", "DELETE")
AGAIN = ("POST a", "DELETE", "POST b")
ONE_ATTEMPT = Setup.of(submit_attempts_max=1)
KEEPING = Setup.of(remove_jobs=False)

MUTATIONS = (
    Mutation(
        "an observation of another generation is written",
        Invariant.TRUE_END, within(*AGAIN, poll=2, finish=1, removals=1),
        MemoryStore, "advance", mutants.any_generation,
    ),
    Mutation(
        "a submitter whose lease was taken over speaks on",
        Invariant.FORWARD, within("POST a", workers=2, lease_passes=1, duplicate=1, answer_lost=1),
        MemoryStore, "advance", mutants.with_any_token,
    ),
    Mutation(
        "nobody looks at the clock before the native call",
        Invariant.GONE, within(*DELETED, lease_passes=1, fence_passes=1, removals=1),
        lifecycle, "_submit_claimed", mutants.never_too_late,
    ),
    Mutation(
        "a removal does not wait for the lease",
        Invariant.GONE, within(*DELETED, removals=1),
        MemoryStore, "delete", mutants.lease_not_kept,
    ),
    Mutation(
        "nobody asks for the lease before the look",
        Invariant.GONE, within(*DELETED, lease_passes=1, removals=1),
        MemoryStore, "standing", mutants.no_wait_for_lease,
    ),
    Mutation(
        "nothing is fenced",
        Invariant.GONE, within(*DELETED, lease_passes=1, removals=1),
        Policy, "from_settings", mutants.no_fence,
    ),
    Mutation(
        "a new job of the jid does not wait",
        Invariant.ALONE, within(*AGAIN),
        MemoryStore, "unsettled", mutants.frees_the_jid,
    ),
    Mutation(
        "DELETE leaves no obligation",
        Invariant.SETTLES, within(*DELETED),
        MemoryStore, "delete", mutants.no_obligation,
    ),
    Mutation(
        "DELETE leaves no tombstone",
        Invariant.HIDDEN, within(*DELETED, sweep=1),
        MemoryStore, "delete", mutants.no_tombstone,
    ),
    Mutation(
        "a sweep does not look for the tombstone",
        Invariant.HIDDEN, within(*DELETED, sweep=1),
        MemoryStore, "adopt", mutants.under_no_tombstone,
    ),
    Mutation(
        "an end is overwritten",
        Invariant.FINAL, within("POST a", poll=2, finish=1, lease_passes=1, observers=2),
        memory, "SOURCES", mutants.END_OVERWRITES,
    ),
    Mutation(
        "a late PENDING is written over RUNNING",
        Invariant.FORWARD, within("POST a", sweep=1, run=1),
        memory, "SOURCES", mutants.PENDING_OVERWRITES,
    ),
    Mutation(
        "one listing too few before LOST",
        Invariant.TRULY_LOST, within("POST a", lag=2, poll=2, lease_passes=1, has_job=True),
        sightings, "LISTINGS_BEFORE_LOST", 2,
    ),
    Mutation(
        "absences are not forgotten when the job is seen",
        Invariant.TRULY_LOST, within("POST a", lag=3, poll=4, lease_passes=2, has_job=True),
        MemoryStore, "note_present", mutants.remembers_absences,
    ),
    Mutation(
        "absences count for whoever led before",
        Invariant.TRULY_LOST, within("POST a", lag=3, poll=4, lease_passes=2, handover=1, observers=2, has_job=True),
        MemoryStore, "note_absent", mutants.no_leader,
    ),
    Mutation(
        "nobody looks before POISON",
        Invariant.TRUE_END, within("POST a", crash=1, lease_passes=1, fence_passes=1, setup=ONE_ATTEMPT),
        lifecycle, "_end_exhausted", mutants.gives_up_blindly,
    ),
    Mutation(
        "POISON does not wait for the fence",
        Invariant.TRUE_END, within("POST a", duplicate=1, lease_passes=1, workers=2, setup=ONE_ATTEMPT),
        lifecycle, "_end_exhausted", mutants.gives_up_at_once,
    ),
    Mutation(
        "a submit does not wait for the sweep",
        Invariant.ALONE, within("POST a", "POST a", wipe=1),
        MemoryStore, "claim", mutants.as_swept,
    ),
    Mutation(
        "the sweep does not wait for the native calls of before",
        Invariant.ALONE, within("POST a", "POST a", wipe=1, epoch=1, workers=2),
        Observer, "_ensure_epoch", mutants.waits_not,
    ),
    Mutation(
        "a job of another body takes the object over",
        Invariant.TRUE_END, within("POST a", "POST b", wipe=1, epoch=2, lease_passes=1),
        MemoryStore, "adopt", mutants.same_body,
    ),
    Mutation(
        "a sweep takes the oldest object first",
        Invariant.KEPT, within(*AGAIN, wipe=1, epoch=1, lease_passes=1, removals=1, setup=KEEPING, has_job=True),
        reconcile, "sorted", mutants.oldest_first,
    ),
    Mutation(
        "what is due is not enqueued again",
        Invariant.SETTLES, within("POST a", message_lost=1),
        reconcile, "enqueue_due", mutants.enqueues_nothing,
    ),
)  # fmt: skip
