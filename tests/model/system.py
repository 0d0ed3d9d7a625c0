"""The whole of pman as one value, and every step that it may take from there: an actor's next call, a fault, time."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import patch

from pman_core.errors import BackendError, StoreUnavailable, Unavailable
from pman_core.job import JobSpec
from pman_core.queues import Task
from pman_core.states import WAITING, Reason, State
from pman_core.store import memory
from pman_core.store.policy import Policy
from pman_worker import lifecycle
from tests.model import scheduler as native
from tests.model.invariants import Broken, Invariant
from tests.model.programs import BACKEND, Setup, client, observer, worker
from tests.model.scheduler import Scheduler
from tests.model.storebook import Effect, StoreBook
from tests.model.tape import DONE, Actors, Answer, Call, Interned

START_S = 1_000
PARTS = ("epoch", "poll", "due", "removals", "sweep")
JUMPS_S = {"lease passes": 61, "fence passes": 301}
IN_THE_CALL = {"submit", "make", "start"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What may happen, and how often."""

    name: str
    clients: tuple[tuple[str, ...], ...]
    budget: Mapping[str, int]
    setup: Setup = field(default_factory=Setup.of)
    workers: int = 2
    observers: int = 1


class Ghost(NamedTuple):
    """What only the model remembers."""

    deleted: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    is_owed: bool = False
    """There must be a record."""


class Worker(NamedTuple):
    position: int
    message: int
    token: int


class Client(NamedTuple):
    done: int
    position: int = DONE


class Point(NamedTuple):
    """One state of everything."""

    now_s: int
    store: int
    scheduler: Scheduler
    ghost: Ghost
    workers: tuple[Worker, ...]
    messages: tuple[int, ...]
    observers: tuple[int, ...]
    clients: tuple[Client, ...]
    budget: tuple[int, ...]


class Step(NamedTuple):
    """What led from one point to the next, for people."""

    who: str
    call: int = -1
    answer: int = -1
    what: str = ""


Message = tuple[Task, str]


class System:
    """One scenario over the real code. All that was ever computed is kept."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.setup = scenario.setup
        self.actors = Actors()
        self.book = StoreBook(Policy.from_settings(self.setup.settings))
        self._names = tuple(scenario.budget)
        self._index = {name: at for at, name in enumerate(self._names)}
        self._messages: list[Message] = []
        self._specs: dict[tuple[str, str], JobSpec] = {}

    @contextmanager
    def sources(self) -> Iterator[None]:
        """Nothing is random while this lasts."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(memory, "mint_generation", self.book.mint))
            stack.enter_context(patch.object(lifecycle, "random", SimpleNamespace(uniform=lambda _, high: high)))
            yield

    # Budgets

    def left(self, point: Point, name: str) -> int:
        at = self._index.get(name)
        return 0 if at is None else point.budget[at]

    def _spend(self, budget: tuple[int, ...], name: str) -> tuple[int, ...]:
        at = self._index[name]
        return (*budget[:at], budget[at] - 1, *budget[at + 1 :])

    # The beginning

    def start(self) -> Point:
        store = self._lead(self._call_store(self.book.empty(), START_S, Call("store", "begin_epoch", (BACKEND,))), 0)
        return Point(
            START_S, store, Scheduler(), Ghost(), (), (),
            tuple(self._observer(number) for number in range(self.scenario.observers)),
            tuple(Client(0) for _ in self.scenario.clients), tuple(self.scenario.budget.values()),
        )  # fmt: skip

    def _call_store(self, store: int, now_s: int, call: Call) -> int:
        return self.book.apply(store, now_s * 1000, call, self.actors.calls.id_of(call)).store

    def _lead(self, store: int, number: int) -> int:
        """Let this observer lead: its lease is renewed by a thread that never fails here."""
        image = self.book.image(store)
        return self.book.keep(replace(image, leaders={BACKEND: (f"o{number + 1}", 10**15)}))

    def _observer(self, number: int) -> int:
        token = f"o{number + 1}"
        return self.actors.begin(token, lambda: observer(self.setup, token))

    # Steps

    def steps(self, point: Point) -> Iterator[tuple[Step, Point]]:
        """Yield everything that can happen next.

        Raises:
            Broken: with the step in ``step``.
        """
        yield from self._worker_steps(point)
        yield from self._observer_steps(point)
        yield from self._client_steps(point)
        yield from self._scheduler_steps(point)
        yield from self._fault_steps(point)

    def _worker_steps(self, point: Point) -> Iterator[tuple[Step, Point]]:
        for at, one in enumerate(point.workers):
            rest = (*point.workers[:at], *point.workers[at + 1 :])
            yield from self._work(point, one, rest, point.messages)
            if self.left(point, "crash"):
                yield (
                    Step(f"worker {one.token}", what="dies"),
                    point._replace(
                        workers=rest,
                        messages=tuple(sorted((*point.messages, one.message))),
                        budget=self._spend(point.budget, "crash"),
                    ),
                )
        if len(point.workers) < self.scenario.workers:
            for message in sorted(set(point.messages)):
                left = list(point.messages)
                left.remove(message)
                yield from self._work(point, self.take(point, message), point.workers, tuple(left))

    def take(self, point: Point, message: int) -> Worker:
        """A worker that has just taken ``message``."""
        used = {one.token for one in point.workers}
        leases = self.book.image(point.store).tokens
        token = next(n for n in range(1, 100) if n not in used and f"w{n}" not in leases)
        task, generation = self._messages[message]
        key = f"{task} {generation} w{token}"
        position = self.actors.begin(key, lambda: worker(self.setup, task, generation, f"w{token}"))
        return Worker(position, message, token)

    def _work(
        self, point: Point, one: Worker, others: tuple[Worker, ...], messages: tuple[int, ...]
    ) -> Iterator[tuple[Step, Point]]:
        before = point._replace(workers=others, messages=messages)
        for step, after, position in self.calls(before, one.position, f"worker {one.token}"):
            if position == DONE:
                yield step, after
                if self.left(after, "crash"):
                    yield (
                        step._replace(what="and dies before the ack"),
                        after._replace(
                            messages=tuple(sorted((*after.messages, one.message))),
                            budget=self._spend(after.budget, "crash"),
                        ),
                    )
                continue
            yield step, after._replace(workers=tuple(sorted((*after.workers, one._replace(position=position)))))

    def _observer_steps(self, point: Point) -> Iterator[tuple[Step, Point]]:
        for at, position in enumerate(point.observers):
            name = f"observer {at + 1}"
            node = self.actors.nodes[position]
            if node.call.target == "orders":
                for part in PARTS:
                    if self.left(point, part):
                        budget = self._spend(point.budget, part)
                        yield from self._observe(point._replace(budget=budget), at, self.order(position, part), name)
                continue
            yield from self._observe(point, at, position, name)
            if self.left(point, "crash"):
                budget = self._spend(point.budget, "crash")
                yield Step(name, what="dies"), self._put_observer(point, at, self._observer(at))._replace(budget=budget)

    def order(self, position: int, part: str) -> int:
        """Return where an idle observer is when it has been told to do ``part``."""
        return self.actors.go_on(position, self.actors.answers.id_of(Answer(part)))

    def _observe(self, point: Point, at: int, position: int, name: str) -> Iterator[tuple[Step, Point]]:
        if self.actors.nodes[position].call.target == "orders":
            yield Step(name, what="finds nothing to do"), self._put_observer(point, at, position)
            return
        for step, after, then in self.calls(point, position, name):
            yield step, self._put_observer(after, at, then)

    def _put_observer(self, point: Point, at: int, position: int) -> Point:
        return point._replace(observers=(*point.observers[:at], position, *point.observers[at + 1 :]))

    def _client_steps(self, point: Point) -> Iterator[tuple[Step, Point]]:
        for at, one in enumerate(point.clients):
            name = f"client {at + 1}"
            orders = self.scenario.clients[at]
            if one.position == DONE:
                if one.done < len(orders):
                    order = orders[one.done]
                    position = self.actors.begin(order, lambda order=order: client(self.setup, order))  # type: ignore[misc]
                    for step, after, then in self.calls(point, position, f"{name}: {order}"):
                        yield step, self._put_client(after, at, Client(one.done + 1, then))
                continue
            for step, after, then in self.calls(point, one.position, name):
                yield step, self._put_client(after, at, one._replace(position=then))
            if self.left(point, "crash"):
                gone = self._put_client(point, at, one._replace(position=DONE))
                yield Step(name, what="its API dies"), gone._replace(budget=self._spend(point.budget, "crash"))

    def _put_client(self, point: Point, at: int, one: Client) -> Point:
        return point._replace(clients=(*point.clients[:at], one, *point.clients[at + 1 :]))

    def _scheduler_steps(self, point: Point) -> Iterator[tuple[Step, Point]]:
        for one in point.scheduler.alive():
            if one.state is State.PENDING and self.left(point, "run"):
                yield (
                    Step("scheduler", what=f"runs {one.generation}"),
                    point._replace(scheduler=point.scheduler.run(one.generation), budget=self._spend(point.budget, "run")),
                )
            if self.left(point, "finish"):
                yield (
                    Step("scheduler", what=f"{one.generation} ends"),
                    point._replace(
                        scheduler=point.scheduler.finish(one.generation), budget=self._spend(point.budget, "finish")
                    ),
                )
        record = self.book.image(point.store).record
        if self.left(point, "vanish") and record is not None and record.state not in WAITING:
            for one in point.scheduler.natives:
                yield (
                    Step("scheduler", what=f"forgets {one.generation}"),
                    point._replace(
                        scheduler=point.scheduler.remove(one.generation), budget=self._spend(point.budget, "vanish")
                    ),
                )

    def _fault_steps(self, point: Point) -> Iterator[tuple[Step, Point]]:
        for jump, seconds in JUMPS_S.items():
            if self.left(point, jump) and not self._is_too_long(point, jump):
                budget = self._spend(point.budget, jump)
                yield Step("time", what=f"{seconds} s pass"), point._replace(now_s=point.now_s + seconds, budget=budget)
        if self.left(point, "duplicate"):
            for message in sorted({*point.messages, *(one.message for one in point.workers)}):
                yield (
                    Step("queue", what="delivers twice: " + " ".join(self._messages[message])),
                    point._replace(
                        messages=tuple(sorted((*point.messages, message))), budget=self._spend(point.budget, "duplicate")
                    ),
                )
        if self.left(point, "wipe"):
            yield Step("store", what="is wiped"), self._wiped(point)
        if self.left(point, "handover"):
            store = self._lead(point.store, 1)
            yield (
                Step("observer 2", what="leads"),
                point._replace(store=store, budget=self._spend(point.budget, "handover")),
            )

    def _is_too_long(self, point: Point, jump: str) -> bool:
        """A worker would sleep between its last look at the clock and the scheduler, longer than is promised to be safe:
        the fence, and after a wipe, which takes all fences, the lease.
        """
        calls = (self.actors.nodes[one.position].call for one in point.workers)
        is_in_the_call = any(call.target == "scheduler" and call.name in IN_THE_CALL for call in calls)
        is_wiped = self.left(point, "wipe") < self.scenario.budget.get("wipe", 0)
        return is_in_the_call and (jump == "fence passes" or is_wiped)

    def _wiped(self, point: Point) -> Point:
        image = self.book.image(point.store)
        has_object = image.record is not None and point.scheduler.find(image.record.generation) is not None
        store = self._lead(self.book.empty(image.minted), 0)
        ghost = Ghost(frozenset(), point.ghost.settled, point.ghost.is_owed and has_object)
        return point._replace(store=store, messages=(), ghost=ghost, budget=self._spend(point.budget, "wipe"))

    # One call

    def calls(self, point: Point, position: int, who: str, *, faults: bool = True) -> Iterator[tuple[Step, Point, int]]:
        """Yield every way in which the next call of an actor may go, and where the actor is after it."""
        node = self.actors.nodes[position]
        call = node.call
        step = Step(who, node.call_id)
        try:
            if call.target == "store":
                outcomes = self._on_store(point, call, node.call_id, faults=faults)
            elif call.target == "scheduler":
                outcomes = self._on_scheduler(point, call, who, faults=faults)
            elif call.target == "queue":
                outcomes = self._on_queue(point, call, faults=faults)
            else:
                outcomes = [(point, Answer(point.now_s))]
        except Broken as broken:
            broken.step = step
            raise
        for after, answer in outcomes:
            answer_id = self.actors.answers.id_of(answer)
            yield step._replace(answer=answer_id), after, self.actors.go_on(position, answer_id)

    def _on_store(self, point: Point, call: Call, call_id: int, *, faults: bool) -> list[tuple[Point, Answer]]:
        effect = self.book.apply(point.store, point.now_s * 1000, call, call_id)
        after = point._replace(store=effect.store, ghost=self._remembered(point, effect))
        outcomes = [(after, effect.answer)]
        if faults and self.left(point, "store answer lost"):
            budget = self._spend(point.budget, "store answer lost")
            outcomes.append((after._replace(budget=budget), Answer(error=StoreUnavailable("no answer"))))
        return outcomes

    def _remembered(self, point: Point, effect: Effect) -> Ghost:
        ghost = point.ghost
        if effect.ended is not None:
            _check_end(point.scheduler, effect)
        if effect.created in ghost.deleted and effect.created:
            raise Broken(Invariant.HIDDEN, f"{effect.created} was deleted and is back")
        if effect.created:
            ghost = ghost._replace(is_owed=True)
        if effect.deletes:
            minted = self.book.image(effect.store).minted
            ghost = ghost._replace(deleted=frozenset(f"g{number + 1}" for number in range(minted)), is_owed=False)
        if effect.settled:
            ghost = ghost._replace(settled=ghost.settled | {effect.settled})
        return ghost

    def _leads(self, point: Point, who: str) -> bool:
        return self.book.image(point.store).leaders[BACKEND][0] == who.replace("observer ", "o")

    def _on_scheduler(self, point: Point, call: Call, who: str, *, faults: bool) -> list[tuple[Point, Answer]]:
        outcomes = []
        try:
            after, value = native.answer(point.scheduler, call.name, call.args, self._specs)
            if call.name == "observe" and self._leads(point, who):
                after = replace(after, lags=0)
            self._check_start(point, after)
            done = point._replace(scheduler=after)
            outcomes.append((done, Answer(value)))
        except BackendError as error:
            done = point
            outcomes.append((point, Answer(error=error)))
        if not faults:
            return outcomes
        if self.left(point, "answer lost"):
            budget = self._spend(point.budget, "answer lost")
            outcomes.append((done._replace(budget=budget), Answer(error=Unavailable("no answer"))))
        if self.left(point, "reject") and call.name in {"submit", "make"} and not point.scheduler.find(call.args[0].generation):
            budget = self._spend(point.budget, "reject")
            refused = native.rejecting(point.scheduler, call.args[0])
            outcomes.append((point._replace(scheduler=refused, budget=budget), Answer(error=native.REJECTED)))
        if self.left(point, "lag") and call.name == "observe" and point.scheduler.lags < 2:
            refs = call.args[0]
            if all(ref.handle for ref in refs):
                late, value = native.lagging(point.scheduler, refs)
                outcomes.append((point._replace(scheduler=late, budget=self._spend(point.budget, "lag")), Answer(value)))
        return outcomes

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

    def _on_queue(self, point: Point, call: Call, *, faults: bool) -> list[tuple[Point, Answer]]:
        task = call.args[0]
        if call.name == "backlog":
            return [(point, Answer(sum(self._messages[one][0] is task for one in point.messages)))]
        message = self._message((task, call.args[2]))
        outcomes = [(point._replace(messages=tuple(sorted((*point.messages, message)))), Answer(value=True))]
        if faults and self.left(point, "message lost"):
            outcomes.append((point._replace(budget=self._spend(point.budget, "message lost")), Answer(value=True)))
        return outcomes

    def _message(self, message: Message) -> int:
        if message not in self._messages:
            self._messages.append(message)
        return self._messages.index(message)


def _check_end(scheduler: Scheduler, effect: Effect) -> None:
    record = effect.ended
    assert record is not None
    generation = record.generation
    has_started = generation in scheduler.starts
    what = f"{generation} is told to be {record.state} {record.reason}"
    if record.state is State.LOST:
        if scheduler.find(generation):
            raise Broken(Invariant.LOST, what)
    elif record.reason == Reason.REJECTED:
        if has_started or generation not in scheduler.rejected:
            raise Broken(Invariant.TRUE_END, what)
    elif record.reason == Reason.POISON:
        if has_started:
            raise Broken(Invariant.TRUE_END, what)
    elif (generation, record.digest, record.state, record.exit_code) not in scheduler.ends:
        raise Broken(Invariant.TRUE_END, what)
