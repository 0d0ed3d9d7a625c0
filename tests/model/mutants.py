"""One rule of the protocol less, each: what stands in the place of the real function, which is the first argument.

:mod:`tests.model.mutations` says what breaks without it.
"""

from dataclasses import replace
from typing import Any

from pman_core.backend import Absent, Observed
from pman_core.states import NATIVE, SOURCES, TERMINAL, WAITING, State
from pman_core.store.memory import MemoryStore
from pman_core.store.policy import Policy
from pman_core.store.protocol import Change, Deletion, Moved, Standing
from pman_worker.observer import Observer

# The generation


def any_generation(advance: Any, store: MemoryStore, change: Change) -> Moved:
    job = store._jobs.get(change.jid)
    moved: Moved = advance(store, replace(change, generation=job.record.generation) if job else change)
    return moved


# The lease and its fence


def with_any_token(advance: Any, store: MemoryStore, change: Change) -> Moved:
    job = store._jobs.get(change.jid)
    if job and change.token and change.state is not State.SUBMITTING:
        change = replace(change, token=job.lease)
    moved: Moved = advance(store, change)
    return moved


def no_fence(from_settings: Any, settings: Any) -> Policy:
    return replace(from_settings(settings), fence_ms=0)


def no_wait_for_lease(standing: Any, store: MemoryStore, jid: str, generation: str) -> Standing:
    return Standing(is_leased=False, is_fenced=False)


def lease_not_kept(delete: Any, store: MemoryStore, jid: str, claim_s: float = 0) -> Deletion:
    deletion: Deletion = delete(store, jid, claim_s)
    if deletion.obligation:
        store._tombs[jid].open[deletion.obligation.generation] = 0
    return deletion


def never_too_late(submit_claimed: Any, ctx: Any, record: Any, token: str, begin_until_s: float) -> Moved:
    moved: Moved = submit_claimed(ctx, record, token, float("inf"))
    return moved


# Deleting


def frees_the_jid(unsettled: Any, store: MemoryStore, jid: str) -> list[str]:
    return []


def no_tombstone(delete: Any, store: MemoryStore, jid: str, claim_s: float = 0) -> Deletion:
    deletion: Deletion = delete(store, jid, claim_s)
    store._tombs.pop(jid)
    return deletion


def no_obligation(delete: Any, store: MemoryStore, jid: str, claim_s: float = 0) -> Deletion:
    delete(store, jid, claim_s)
    store._obligations.clear()
    return Deletion(None)


# Observing


END_OVERWRITES = {**SOURCES, **dict.fromkeys(TERMINAL, WAITING | NATIVE | TERMINAL)}
PENDING_OVERWRITES = {**SOURCES, State.PENDING: WAITING | NATIVE}


def no_leader(note_absent: Any, store: MemoryStore, *args: Any) -> Any:
    jid, generation, scope, _, listed_at_ms = args
    return note_absent(store, jid, generation, scope, store._leaders[scope][0], listed_at_ms)


def remembers_absences(note_present: Any, store: MemoryStore, jid: str, generation: str) -> None:
    """Nothing is forgotten."""


def waits_not(ensure_epoch: Any, observer: Observer) -> None:
    observer._had_epoch = False
    ensure_epoch(observer)


# After the attempts are used up


def gives_up_blindly(end_exhausted: Any, ctx: Any, jid: str, generation: str) -> Moved:
    ctx = replace(ctx, backend=Blind(ctx.backend))
    moved: Moved = end_exhausted(ctx, jid, generation)
    return moved


class Blind:
    """Every look shows nothing."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def observe(self, refs: Any) -> dict[tuple[str, str], Observed | Absent]:
        return {(ref.jid, ref.generation): Absent() for ref in refs}


def gives_up_at_once(end_exhausted: Any, ctx: Any, jid: str, generation: str) -> Moved:
    settings = ctx.settings.model_copy(update={"submit_fence_s": 0.0})
    moved: Moved = end_exhausted(replace(ctx, settings=settings), jid, generation)
    return moved


# After a wipe


class AnyBackend(set[str]):
    """As if every backend had been swept."""

    def __contains__(self, _: object) -> bool:
        return True


def as_swept(claim: Any, store: MemoryStore, *args: str) -> Any:
    epochs, store._epochs = store._epochs, AnyBackend()
    claimed = claim(store, *args)
    store._epochs = epochs
    return claimed


def oldest_first(_: Any, found: Any, **options: Any) -> list[Any]:
    return sorted(found, key=lambda owned: owned.observed.generation)


def same_body(adopt: Any, store: MemoryStore, spec: Any, *args: Any, **options: Any) -> Any:
    job = store._jobs.get(spec.jid)
    if job is None or job.record.generation == spec.generation:
        return adopt(store, spec, *args, **options)
    digest = job.record.digest
    job.record = replace(job.record, digest=spec.request.digest)
    adopted = adopt(store, spec, *args, **options)
    job.record = replace(job.record, digest=digest)
    return adopted


def under_no_tombstone(adopt: Any, store: MemoryStore, spec: Any, *args: Any, **options: Any) -> Any:
    tombs, store._tombs = store._tombs, {}
    adopted = adopt(store, spec, *args, **options)
    store._tombs = tombs
    return adopted


def enqueues_nothing(enqueue_due: Any, ctx: Any) -> int:
    return 0
