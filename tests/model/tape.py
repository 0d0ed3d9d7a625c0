"""Actors of the model are the real functions: run again from their beginning over all they have been told so far.

A function that asks for something nobody has answered yet is broken off there, and that question is its next step. So
the position of an actor is the list of its answers: a plain value, that can be kept, compared and gone on from many
times. Runs that have heard the same answers share one :class:`Node`, so each is made once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pman_core.errors import PmanError

DONE = -1
"""The position of an actor that has come to its end."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question of an actor to the world around it."""

    target: str
    name: str
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def on(self, target: object) -> Any:
        return getattr(target, self.name)(*self.args, **dict(self.options))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the world says. An error is raised in the actor."""

    value: Any = None
    error: Exception | None = None


class Pause(BaseException):
    """The actor has asked something new; nothing of ours may catch it."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call


class Tape:
    """What one actor has been told, played to it in order."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._answers = iter(answers)
        self.memory: Callable[[], str] | None = None
        """Set by an actor that waits for orders in between: all that it remembers then."""

    def ask(self, target: str, name: str, *args: Any, **options: Any) -> Any:
        answer = next(self._answers, None)
        if answer is None:
            raise Pause(Call(target, name, args, tuple(options.items())))
        if answer.error is not None:
            raise answer.error
        return answer.value

    def remote(self, target: str, **attributes: Any) -> Any:
        """Return an object all of whose methods are questions to ``target``."""
        return _Remote(self, target, attributes)


class _Remote:
    def __init__(self, tape: Tape, target: str, attributes: dict[str, Any]) -> None:
        self._tape = tape
        self._target = target
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        return partial(self._tape.ask, self._target, name)


Program = Callable[[Tape], None]


@dataclass(slots=True)
class Node:
    """One position of one program: its next call, and where each answer leads."""

    program: Program
    answers: tuple[Answer, ...]
    call: Call
    call_id: int
    next: dict[int, int] = field(default_factory=dict)


class Interned:
    """Values as small numbers; equal by their ``repr``, which all our data classes have."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._ids: dict[str, int] = {}

    def id_of(self, value: Any, key: str = "") -> int:
        key = key or repr(value)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self.values)
            self.values.append(value)
        return found


class Actors:
    """All positions that any actor has been in."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.calls = Interned()
        self.answers = Interned()
        self._roots: dict[str, int] = {}
        self._idle: dict[str, int] = {}

    def begin(self, key: str, program: Callable[[], Program]) -> int:
        """Return the first position of the program that ``key`` stands for."""
        if key not in self._roots:
            self._roots[key] = self._run(key, program(), ())
        return self._roots[key]

    def go_on(self, position: int, answer_id: int) -> int:
        """Return the position after that answer."""
        node = self.nodes[position]
        if answer_id not in node.next:
            answers = (*node.answers, self.answers.values[answer_id])
            node.next[answer_id] = self._run("", node.program, answers)
        return node.next[answer_id]

    def _run(self, key: str, program: Program, answers: tuple[Answer, ...]) -> int:
        tape = Tape(answers)
        try:
            program(tape)
        except Pause as pause:
            call = pause.call
        except PmanError:
            return DONE  # told to the log and to nobody else
        else:
            return DONE
        position = len(self.nodes)
        if tape.memory is not None and call.target == "orders":
            # Whoever remembers the same is at the same place, however he came there.
            position = self._idle.setdefault(tape.memory(), position)
        if position == len(self.nodes):
            self.nodes.append(Node(program, answers, call, self.calls.id_of(call)))
        return position
