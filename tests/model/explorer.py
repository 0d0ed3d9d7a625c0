"""Every state that a scenario can come to, in the order of the shortest way there; and whether each can end well.

A state in which no work is under way is also gone on from without further faults, in a fair order: then all must end.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from pman_core.states import State
from tests.model.invariants import Broken, Invariant
from tests.model.point import Point, Scenario, Step
from tests.model.system import PARTS, System
from tests.model.tape import DONE

FAIR_ROUNDS = 60
ROUND_S = 61
LINES_MAX = 80
"""A run that never settles repeats itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at."""

    scenario: str
    states: int
    steps: int
    quiet: int
    seconds: float
    counterexample: str = ""
    broken: Invariant | None = None

    def __str__(self) -> str:
        counts = f"{self.states:>8} states {self.steps:>9} steps {self.quiet:>7} quiet"
        return f"{self.scenario:<28} {counts} {self.seconds:7.1f} s"


class Explorer:
    """Breadth first, so that a counterexample is as short as can be."""

    def __init__(self, scenario: Scenario) -> None:
        self._system = System(scenario)
        self._name = scenario.name
        self._from: dict[Point, tuple[Point, Step] | None] = {}
        self._fair: set[Point] = set()
        self._steps = self._quiet = 0

    def run(self) -> Report:
        logging.disable()
        began_s = time.perf_counter()
        broken, counterexample = None, ""
        try:
            with self._system.sources():
                found = self._explore()
                if found is not None:
                    broken, counterexample = found[0].invariant, self._told(*found)
        finally:
            logging.disable(logging.NOTSET)
        return Report(
            self._name, len(self._from), self._steps, self._quiet, time.perf_counter() - began_s, counterexample, broken
        )

    def _explore(self) -> tuple[Broken, Point, list[Step]] | None:
        start = self._system.start()
        self._from[start] = None
        todo = deque([start])
        while todo:
            point = todo.popleft()
            try:
                for step, after in self._system.steps(point):
                    self._steps += 1
                    if after not in self._from:
                        self._from[after] = (point, step)
                        todo.append(after)
            except Broken as broken:
                return broken, point, [broken.step]
            if self._is_quiet(point):
                self._quiet += 1
                fair: list[Step] = []
                try:
                    self._go_on_fairly(point, fair)
                except Broken as broken:
                    return broken, point, fair
        return None

    def _is_quiet(self, point: Point) -> bool:
        return (
            not point.workers
            and all(one.position == DONE for one in point.clients)
            and all(self._system.is_idle(position) for position in point.observers)
        )

    # Fair, without faults

    def _go_on_fairly(self, point: Point, told: list[Step]) -> None:
        point = point._replace(budget=())
        met = []
        for _ in range(FAIR_ROUNDS):
            if point in self._fair:
                break
            met.append(point)
            point = self._round(point, told)
            if self._is_settled(point):
                break
            point = point._replace(now_s=point.now_s + ROUND_S)
            told.append(Step("time", what=f"{ROUND_S} s pass"))
        else:
            raise Broken(Invariant.SETTLES, self._why_not(point))
        self._fair.update(met)

    def _round(self, point: Point, told: list[Step]) -> Point:
        for part in PARTS:
            for _ in range(20):
                if not point.messages:
                    break
                point = self._system.work_off(point, told)
            for one in point.scheduler.alive():
                point = point._replace(scheduler=point.scheduler.finish(one.generation))
                told.append(Step("scheduler", what=f"{one.generation} ends"))
            position = self._system.order(point.observers[0], part)
            point, position = self._system.finish(point, position, "observer 1", told)
            point = point.with_observer(0, position)
        return point

    def _is_settled(self, point: Point) -> bool:
        return not self._why_not(point)

    def _why_not(self, point: Point) -> str:
        image = self._system.book.image(point.store)
        record = image.record
        if point.messages:
            return "messages are left"
        if record is None and point.ghost.owed:
            return "the record is missing"
        if record is not None and not record.is_terminal:
            return f"the record stays {record.state}"
        if left := [due for dues in image.obligations.values() for due in dues]:
            return f"obligations are left: {left}"
        if any(tomb.open for tomb in image.tombs.values()):
            return "the jid stays held back"
        if not self._system.setup.settings.remove_jobs:
            return ""
        kept = {record.generation} if record is not None and record.state is not State.LOST else set()
        left_over = [one.generation for one in point.scheduler.natives if one.generation not in kept]
        return f"objects are left: {left_over}" if left_over else ""

    # For people

    def _told(self, broken: Broken, point: Point, last: list[Step]) -> str:
        way = list(last)
        came = self._from[point]
        while came is not None:
            point, step = came
            way.insert(0, step)
            came = self._from[point]
        lines = [f"{number:>3}. {line}" for number, line in enumerate(self._lines(way), 1)][:LINES_MAX]
        return "\n".join([f"{self._name}: {broken}", *lines])

    def _lines(self, way: list[Step]) -> Iterator[str]:
        actors = self._system.actors
        for step in way:
            text = step.who
            if step.call >= 0:
                call = actors.calls.values[step.call]
                arguments = ", ".join(map(short, call.args))
                text += f": {call.target}.{call.name}({arguments})"
            if step.answer >= 0:
                answer = actors.answers.values[step.answer]
                text += f" -> {short(answer.value) if answer.error is None else repr(answer.error)}"
            yield f"{text} {step.what}".rstrip()


def short(value: object) -> str:
    """Return what matters of a value to whoever reads a schedule."""
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return "[" + ", ".join(map(short, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{short(key)}: {short(one)}" for key, one in value.items()) + "}"
    for names in (
        ("moved",),
        ("outcome",),
        ("generation", "state", "reason"),
        ("generation",),
        ("obligation",),
        ("observed",),
        ("image",),
    ):
        if all(hasattr(value, name) for name in names):
            parts = [short(getattr(value, name)) for name in names]
            return f"{type(value).__name__}({' '.join(part for part in parts if part)})"
    return str(value)
