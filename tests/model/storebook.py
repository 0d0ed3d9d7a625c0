"""All states of the store that were met, and what each call makes of each: the real ``MemoryStore``, asked once.

What can be judged by one call alone is judged here: a record that goes back, changes after its end, or is missing.
"""

from dataclasses import dataclass, replace
from typing import Any

from pman_core.errors import PmanError
from pman_core.job import JobRecord
from pman_core.states import TERMINAL, WAITING, State
from pman_core.store.memory import MemoryStore
from pman_core.store.memory_tables import Job, Tomb
from pman_core.store.policy import Policy
from pman_core.store.protocol import Change
from tests.model.invariants import Broken, Invariant
from tests.model.tape import Answer, Call, Interned

RANK = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Image:
    """A frozen store."""

    jobs: dict[str, Job]
    tombs: dict[str, Tomb]
    obligations: dict[str, dict[Any, int]]
    leaders: dict[str, tuple[str, int, int]]
    epochs: frozenset[str]
    minted: int

    @property
    def record(self) -> JobRecord | None:
        return next((job.record for job in self.jobs.values()), None)

    @property
    def tokens(self) -> set[str]:
        return {job.lease for job in self.jobs.values()}

    def key(self) -> str:
        parts = (self.jobs, self.tombs, self.obligations, self.leaders)
        return repr(([sorted(part.items()) for part in parts], sorted(self.epochs), self.minted))


@dataclass(frozen=True, slots=True)
class Effect:
    """What one call does to one state of the store."""

    store: int = 0
    answer: int = 0
    created: str = ""
    is_found: bool = False
    """Created by a sweep, out of nothing but the object."""
    deletes: bool = False
    """A DELETE was accepted: of every generation so far."""
    settled: str = ""
    ended: JobRecord | None = None


class StoreBook:
    """States are numbers; :meth:`apply` leads from one to the next."""

    def __init__(self, policy: Policy, answers: Interned) -> None:
        self._answers = answers
        self._images = Interned()
        self._effects: dict[tuple[int, int, int], Effect] = {}
        self._now_ms = 0
        self._minted = 0
        self._store = MemoryStore("pman", policy, lambda: self._now_ms)

    def mint(self, not_before: str = "") -> str:
        """Generations that are the same in every run."""
        self._minted += 1
        return f"g{self._minted}"

    def empty(self, minted: int = 0) -> int:
        return self.keep(Image({}, {}, {}, {}, frozenset(), minted))

    def image(self, store: int) -> Image:
        image: Image = self._images.values[store]
        return image

    def keep(self, image: Image) -> int:
        return self._images.id_of(image, image.key())

    def _load(self, image: Image) -> None:
        store = self._store
        store._jobs = {jid: replace(job) for jid, job in image.jobs.items()}
        store._tombs = {jid: Tomb(tomb.upto, dict(tomb.fences), dict(tomb.open)) for jid, tomb in image.tombs.items()}
        store._obligations = {backend: dict(due) for backend, due in image.obligations.items()}
        store._leaders = dict(image.leaders)
        store._epochs = set(image.epochs)
        self._minted = image.minted

    def _save(self) -> Image:
        store = self._store
        return Image(
            store._jobs, store._tombs, store._obligations, store._leaders, frozenset(store._epochs), self._minted
        )

    def apply(self, store: int, now_ms: int, call: Call, call_id: int) -> Effect:
        """Return what ``call`` does.

        Raises:
            Broken: it does what must never be done.
        """
        key = (store, now_ms, call_id)
        if key not in self._effects:
            self._effects[key] = self._do(self.image(store), now_ms, call)
        return self._effects[key]

    def _do(self, before: Image, now_ms: int, call: Call) -> Effect:
        self._now_ms = now_ms
        self._load(before)
        try:
            answer = Answer(call.on(self._store))
        except PmanError as error:
            answer = Answer(error=error)
        after = self._save()
        effect = _judge(before, after, call, answer)
        return replace(effect, store=self.keep(after), answer=self._answers.id_of(answer))


def _judge(before: Image, after: Image, call: Call, answer: Answer) -> Effect:
    old, new = before.record, after.record
    effect = Effect()
    if call.name == "settle" and answer.value and call.args[1].generation in _held(before):
        return replace(effect, settled=call.args[1].generation)
    if call.name == "delete":
        return replace(effect, deletes=True)
    if old is None or new is None:
        if old is not None and call.name != "expire":
            raise Broken(Invariant.KEPT, f"the record of {old.generation} is gone by {call.name}")
        return replace(effect, created=new.generation if new else "", is_found=call.name == "adopt")
    if old.generation != new.generation:
        if call.name != "adopt" or old.state not in WAITING or old.digest != new.digest:
            raise Broken(Invariant.KEPT, f"the record of {old.generation} became {new.generation} by {call.name}")
        return replace(effect, created=new.generation)
    told = [(one.state, one.exit_code, one.reason, one.finished_at_ms) for one in (old, new)]
    if old.is_terminal and told[0] != told[1]:
        raise Broken(Invariant.FINAL, f"{told[0]} became {told[1]}")
    if RANK[new.state] < RANK[old.state] and not _is_put_off(before, old, new, call):
        raise Broken(Invariant.FORWARD, f"{old.state} became {new.state}")
    ended = new if new.state in TERMINAL and old.state not in TERMINAL else None
    return replace(effect, ended=ended)


def _held(image: Image) -> set[str]:
    """The generations whose removal is under way. A wipe forgets it; what is settled then means nothing."""
    return {generation for tomb in image.tombs.values() for generation in tomb.open}


def _is_put_off(before: Image, old: JobRecord, new: JobRecord, call: Call) -> bool:
    """SUBMITTING to QUEUED, by who holds the lease."""
    change = call.args[0] if call.name == "advance" else None
    is_holder = isinstance(change, Change) and change.token == before.jobs[old.jid].lease
    return is_holder and (old.state, new.state) == (State.SUBMITTING, State.QUEUED)
