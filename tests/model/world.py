"""What a call of an actor does to everything, how it may fail, and whether that may be: one step, judged."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

from pman_core.errors import BackendError, StoreUnavailable, Unavailable
from pman_core.job import JobSpec
from pman_core.queues import Task
from pman_core.states import Reason, State
from pman_core.store import memory
from pman_core.store.policy import Policy
from pman_worker import lifecycle
from tests.model import scheduler as native
from tests.model.invariants import Broken, Invariant
from tests.model.point import Ghost, Message, Outcome, Point, Scenario, Step
from tests.model.programs import BACKEND
from tests.model.scheduler import Scheduler
from tests.model.storebook import Effect, StoreBook
from tests.model.tape import Actors, Answer, Call


class World:
    """Store, scheduler and queue of one scenario. All that was ever computed is kept."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.setup = scenario.setup
        self.actors = Actors()
        self.book = StoreBook(Policy.from_settings(self.setup.settings), self.actors.answers)
        self._index = {name: at for at, name in enumerate(scenario.budget)}
        self.messages: list[Message] = []
        self._specs: dict[tuple[str, str], JobSpec] = {}
        self._native: dict[tuple[Scheduler, int], tuple[Scheduler, int]] = {}

    @contextmanager
    def sources(self) -> Iterator[None]:
        """Nothing is random while this lasts."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(memory, "mint_generation", self.book.mint))
            stack.enter_context(patch.object(lifecycle, "random", SimpleNamespace(uniform=lambda _, high: high)))
            yield

    def left(self, point: Point, name: str) -> int:
        at = self._index.get(name)
        return 0 if at is None else point.budget[at]

    def once(self, point: Point, name: str) -> Point | None:
        """Return ``point`` with one ``name`` less to come; ``None`` if none is left."""
        at = self._index.get(name)
        if at is None or not point.budget[at]:
            return None
        return point._replace(budget=(*point.budget[:at], point.budget[at] - 1, *point.budget[at + 1 :]))

    def calls(self, point: Point, position: int, who: str, *, faults: bool = True) -> Iterator[tuple[Step, Point, int]]:
        """Yield every way in which the next call of an actor may go, and where the actor is after it."""
        node = self.actors.nodes[position]
        call = node.call
        step = Step(who, node.call_id)
        try:
            if call.target == "store":
                outcomes = self._on_store(point, call, node.call_id, faults=faults)
            elif call.target == "scheduler":
                outcomes = self._on_scheduler(point, call, node.call_id, who, faults=faults)
            elif call.target == "queue":
                outcomes = self._on_queue(point, call, faults=faults)
            else:
                outcomes = [(point, self._say(point.now_s))]
        except Broken as broken:
            broken.step = step
            raise
        for after, answer in outcomes:
            yield Step(who, node.call_id, answer), after, self.actors.go_on(position, answer)

    def _say(self, value: object) -> int:
        return self.actors.answers.id_of(Answer(value))

    def _fail(self, error: Exception) -> int:
        return self.actors.answers.id_of(Answer(error=error))

    # The store

    def _on_store(self, point: Point, call: Call, call_id: int, *, faults: bool) -> list[Outcome]:
        effect = self.book.apply(point.store, point.now_s * 1000, call, call_id)
        after = point._replace(store=effect.store, ghost=self._remembered(point, effect))
        outcomes = [(after, effect.answer)]
        if effect.created and call.name == "create":
            outcomes = self._announced(after, effect, faults=faults)
            after = outcomes[0][0]
        if faults and (lost := self.once(after, "store answer lost")):
            outcomes.append((lost, self._fail(StoreUnavailable("no answer"))))
        return outcomes

    def _announced(self, point: Point, effect: Effect, *, faults: bool) -> list[Outcome]:
        """A new job is enqueued in the same step."""
        outcomes = [(point.enqueue(self._message((Task.SUBMIT, effect.created))), effect.answer)]
        if faults and (lost := self.once(point, "message lost")):
            outcomes.append((lost, effect.answer))
        return outcomes

    def _remembered(self, point: Point, effect: Effect) -> Ghost:
        ghost = point.ghost
        if effect.ended is not None:
            _check_end(point.scheduler, effect)
        if effect.created in ghost.deleted and effect.created:
            raise Broken(Invariant.HIDDEN, f"{effect.created} was deleted and is back")
        if effect.is_found and ghost.owed not in {"", effect.created}:
            raise Broken(Invariant.KEPT, f"{effect.created} came back in the place of {ghost.owed}")
        if effect.created:
            ghost = ghost._replace(owed=effect.created)
        if effect.deletes:
            minted = self.book.image(effect.store).minted
            ghost = ghost._replace(deleted=frozenset(f"g{number + 1}" for number in range(minted)), owed="")
        if effect.settled:
            ghost = ghost._replace(settled=ghost.settled | {effect.settled})
        return ghost

    # The scheduler

    def _leads(self, point: Point, who: str) -> bool:
        return self.book.image(point.store).leaders[BACKEND][0] == who.replace("observer ", "o")

    def _on_scheduler(self, point: Point, call: Call, call_id: int, who: str, *, faults: bool) -> list[Outcome]:
        key = (point.scheduler, call_id)
        if key not in self._native:
            self._native[key] = self._ask_scheduler(point.scheduler, call)
        after, answer = self._native[key]
        if call.name == "observe" and after.lags and self._leads(point, who):
            after = replace(after, lags=0)
        self._check_start(point, after)
        done = point._replace(scheduler=after)
        return [(done, answer), *(self._scheduler_faults(point, done, call) if faults else ())]

    def _ask_scheduler(self, scheduler: Scheduler, call: Call) -> tuple[Scheduler, int]:
        try:
            after, value = native.answer(scheduler, call.name, call.args, self._specs)
        except BackendError as error:
            return scheduler, self._fail(error)
        return after, self._say(value)

    def _scheduler_faults(self, point: Point, done: Point, call: Call) -> Iterator[Outcome]:
        if lost := self.once(done, "answer lost"):
            yield lost, self._fail(Unavailable("no answer"))
        refused = self.once(point, "reject")
        if refused and call.name in {"submit", "make"} and not point.scheduler.find(call.args[0].generation):
            scheduler = native.rejecting(point.scheduler, call.args[0])
            yield refused._replace(scheduler=scheduler), self._fail(native.REJECTED)
        late = self.once(point, "lag")
        if late and call.name == "observe" and point.scheduler.lags < 2 and all(ref.handle for ref in call.args[0]):
            scheduler, value = native.lagging(point.scheduler, call.args[0])
            yield late._replace(scheduler=scheduler), self._say(value)

    def _check_start(self, point: Point, after: Scheduler) -> None:
        if after.starts == point.scheduler.starts:
            return
        started = next(g for g in after.starts if after.starts.count(g) > point.scheduler.starts.count(g))
        record = self.book.image(point.store).record
        if after.starts.count(started) > 1:
            raise Broken(Invariant.ONCE, f"{started} was started again")
        if others := [one.generation for one in after.alive() if one.generation != started]:
            raise Broken(Invariant.ALONE, f"{started} was started while {others[0]} can run")
        if started in point.ghost.settled:
            raise Broken(Invariant.GONE, f"{started} was started")
        if record is not None and record.generation == started and record.is_terminal:
            raise Broken(Invariant.TRUE_END, f"{started} was started after it was told to be {record.state}")

    # The queue

    def _on_queue(self, point: Point, call: Call, *, faults: bool) -> list[Outcome]:
        task = call.args[0]
        if call.name == "backlog":
            return [(point, self._say(sum(self.messages[one][0] is task for one in point.messages)))]
        outcomes = [(point.enqueue(self._message((task, call.args[2]))), self._say(True))]
        if faults and (lost := self.once(point, "message lost")):
            outcomes.append((lost, self._say(True)))
        return outcomes

    def _message(self, message: Message) -> int:
        if message not in self.messages:
            self.messages.append(message)
        return self.messages.index(message)


def _check_end(scheduler: Scheduler, effect: Effect) -> None:
    record = effect.ended
    assert record is not None
    generation = record.generation
    has_started = generation in scheduler.starts
    what = f"{generation} is told to be {record.state} {record.reason}"
    if record.state is State.LOST:
        if scheduler.find(generation):
            raise Broken(Invariant.TRULY_LOST, what)
    elif record.reason == Reason.REJECTED:
        if has_started or generation not in scheduler.rejected:
            raise Broken(Invariant.TRUE_END, what)
    elif record.reason == Reason.POISON:
        if has_started:
            raise Broken(Invariant.TRUE_END, what)
    elif (generation, record.digest, record.state, record.exit_code) not in scheduler.ends:
        raise Broken(Invariant.TRUE_END, what)
