"""Every step that may be taken from a state: the next call of an actor, a death, time, a fault of what is around."""

from collections.abc import Iterator
from dataclasses import replace

from pman_core.states import WAITING, State
from tests.model.invariants import Broken
from tests.model.point import Client, Ghost, Point, Step, Worker
from tests.model.programs import BACKEND, client, observer, worker
from tests.model.scheduler import Scheduler
from tests.model.tape import DONE, Answer, Call
from tests.model.world import World

START_S = 1_000
PARTS = ("epoch", "poll", "due", "removals", "sweep")
JUMPS_S = {"lease passes": 61, "fence passes": 301}
IN_THE_CALL = {"submit", "make", "start"}

Steps = Iterator[tuple[Step, Point]]


class System(World):
    """All actors of one scenario."""

    def start(self) -> Point:
        point = self._empty()
        if not self.scenario.has_job:
            return point
        told: list[Step] = []
        point, _ = self.finish(point, self._client(self.scenario.clients[0][0]), "client 1", told)
        point = self.work_off(point, told).with_client(0, Client(1))
        return point._replace(now_s=point.now_s + JUMPS_S["lease passes"])

    def finish(self, point: Point, position: int, who: str, told: list[Step]) -> tuple[Point, int]:
        """Let one actor go on undisturbed to its end, or to its next order. What it does is put into ``told``."""
        while position != DONE and not self.is_idle(position):
            try:
                ((step, point, position),) = self.calls(point, position, who, faults=False)
            except Broken as broken:
                told.append(broken.step)
                raise
            told.append(step)
        return point, position

    def work_off(self, point: Point, told: list[Step]) -> Point:
        """Let a worker do the work of one message, undisturbed."""
        message = point.messages[0]
        one = self.take(point, message)
        return self.finish(point.dequeue(message), one.position, f"worker {one.token}", told)[0]

    def _empty(self) -> Point:
        store = self._lead(
            self._call_store(self.book.empty(), START_S, Call("store", "begin_epoch", (BACKEND,))), 0, START_S
        )
        return Point(
            START_S, store, Scheduler(), Ghost(), (), (),
            tuple(self._observer(number) for number in range(self.scenario.observers)),
            tuple(Client(0) for _ in self.scenario.clients), tuple(self.scenario.budget.values()),
        )  # fmt: skip

    def _call_store(self, store: int, now_s: int, call: Call) -> int:
        return self.book.apply(store, now_s * 1000, call, self.actors.calls.id_of(call)).store

    def _lead(self, store: int, number: int, now_s: int) -> int:
        """Let this observer lead: its lease is renewed by a thread that never fails here."""
        image = self.book.image(store)
        return self.book.keep(replace(image, leaders={BACKEND: (f"o{number + 1}", 10**15, now_s * 1000)}))

    def _observer(self, number: int) -> int:
        token = f"o{number + 1}"
        return self.actors.begin(token, lambda: observer(self.setup, token))

    # Steps

    def steps(self, point: Point) -> Steps:
        """Yield everything that can happen next.

        Raises:
            Broken: with the step in ``step``.
        """
        yield from self._worker_steps(point)
        yield from self._observer_steps(point)
        yield from self._client_steps(point)
        yield from self._scheduler_steps(point)
        yield from self._time_steps(point)
        yield from self._fault_steps(point)

    def _worker_steps(self, point: Point) -> Steps:
        for at, one in enumerate(point.workers):
            others = (*point.workers[:at], *point.workers[at + 1 :])
            yield from self._work(point._replace(workers=others), one)
            if dead := self.once(point, "crash"):
                yield Step(f"worker {one.token}", what="dies"), dead._replace(workers=others).enqueue(one.message)
        if len(point.workers) < self.scenario.workers:
            for message in sorted(set(point.messages)):
                yield from self._work(point.dequeue(message), self.take(point, message))

    def take(self, point: Point, message: int) -> Worker:
        """A worker that has just taken ``message``."""
        used = {one.token for one in point.workers}
        leases = self.book.image(point.store).tokens
        token = next(n for n in range(1, 100) if n not in used and f"w{n}" not in leases)
        task, generation = self.messages[message]
        key = f"{task} {generation} w{token}"
        position = self.actors.begin(key, lambda: worker(self.setup, task, generation, f"w{token}"))
        return Worker(position, message, token)

    def _work(self, point: Point, one: Worker) -> Steps:
        for step, after, position in self.calls(point, one.position, f"worker {one.token}"):
            if position != DONE:
                workers = tuple(sorted((*after.workers, one._replace(position=position))))
                yield step, after._replace(workers=workers)
                continue
            yield step, after
            if dead := self.once(after, "crash"):
                yield step._replace(what="and dies before the ack"), dead.enqueue(one.message)

    def _observer_steps(self, point: Point) -> Steps:
        for at, position in enumerate(point.observers):
            name = f"observer {at + 1}"
            if self.is_idle(position):
                for part in PARTS:
                    if begun := self.once(point, part):
                        yield from self._observe(begun, at, self.order(position, part), name)
                continue
            yield from self._observe(point, at, position, name)
            if dead := self.once(point, "crash"):
                yield Step(name, what="dies"), dead.with_observer(at, self._observer(at))

    def is_idle(self, position: int) -> bool:
        """Whether an observer waits for its next order."""
        return self.actors.nodes[position].call.target == "orders"

    def order(self, position: int, part: str) -> int:
        """Return where an idle observer is when it has been told to do ``part``."""
        return self.actors.go_on(position, self.actors.answers.id_of(Answer(part)))

    def _observe(self, point: Point, at: int, position: int, name: str) -> Steps:
        if self.is_idle(position):
            yield Step(name, what="finds nothing to do"), point.with_observer(at, position)
            return
        for step, after, then in self.calls(point, position, name):
            yield step, after.with_observer(at, then)

    def _client_steps(self, point: Point) -> Steps:
        for at, one in enumerate(point.clients):
            name = f"client {at + 1}"
            if one.position != DONE:
                yield from self._request(point, at, one, name)
                if dead := self.once(point, "crash"):
                    yield Step(name, what="its API dies"), dead.with_client(at, one._replace(position=DONE))
            elif one.done < len(self.scenario.clients[at]):
                order = self.scenario.clients[at][one.done]
                yield from self._request(point, at, Client(one.done + 1, self._client(order)), f"{name}: {order}")

    def _client(self, order: str) -> int:
        return self.actors.begin(order, lambda: client(self.setup, order))

    def _request(self, point: Point, at: int, one: Client, name: str) -> Steps:
        for step, after, then in self.calls(point, one.position, name):
            yield step, after.with_client(at, one._replace(position=then))

    def _scheduler_steps(self, point: Point) -> Steps:
        for one in point.scheduler.alive():
            if one.state is State.PENDING and (after := self.once(point, "run")):
                scheduler = point.scheduler.run(one.generation)
                yield Step("scheduler", what=f"runs {one.generation}"), after._replace(scheduler=scheduler)
            if after := self.once(point, "finish"):
                scheduler = point.scheduler.finish(one.generation)
                yield Step("scheduler", what=f"{one.generation} ends"), after._replace(scheduler=scheduler)
        record = self.book.image(point.store).record
        after = self.once(point, "vanish")
        if after and record is not None and record.state not in WAITING:
            for one in point.scheduler.natives:
                scheduler = point.scheduler.remove(one.generation)
                yield Step("scheduler", what=f"forgets {one.generation}"), after._replace(scheduler=scheduler)

    def _time_steps(self, point: Point) -> Steps:
        for jump, seconds in JUMPS_S.items():
            after = self.once(point, jump)
            if after and not self._is_too_long(point, jump):
                yield Step("time", what=f"{seconds} s pass"), after._replace(now_s=point.now_s + seconds)

    def _is_too_long(self, point: Point, jump: str) -> bool:
        """A worker would sleep between its last look at the clock and its native call, for longer than pman promises to
        bear: the fence, and after a wipe, which takes all fences, the lease.
        """
        calls = (self.actors.nodes[one.position].call for one in point.workers)
        is_in_the_call = any(call.target == "scheduler" and call.name in IN_THE_CALL for call in calls)
        is_wiped = self.left(point, "wipe") < self.scenario.budget.get("wipe", 0)
        return is_in_the_call and (jump == "fence passes" or is_wiped)

    def _fault_steps(self, point: Point) -> Steps:
        if after := self.once(point, "duplicate"):
            for message in sorted({*point.messages, *(one.message for one in point.workers)}):
                what = "delivers twice: " + " ".join(self.messages[message])
                yield Step("queue", what=what), after.enqueue(message)
        if after := self.once(point, "wipe"):
            yield Step("store", what="is wiped"), self._wiped(after)
        if after := self.once(point, "handover"):
            yield Step("observer 2", what="leads"), after._replace(store=self._lead(point.store, 1, point.now_s))

    def _wiped(self, point: Point) -> Point:
        image = self.book.image(point.store)
        has_object = image.record is not None and point.scheduler.find(image.record.generation) is not None
        store = self._lead(self.book.empty(image.minted), 0, point.now_s)
        ghost = Ghost(frozenset(), point.ghost.settled, point.ghost.owed if has_object else "")
        return point._replace(store=store, messages=(), ghost=ghost)
