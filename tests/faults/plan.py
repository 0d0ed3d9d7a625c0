"""Which fault strikes when: a pure function of the seed, so that a bad night can be had again."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

SETTLE_S = 2.0
"""So long what a fault has hit is left alone after it: it is to be hit at work, not while it starts."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One fault that may be planned: a kind, what it hits, and how long it may last."""

    kind: str
    target: str
    lasts_s: tuple[float, float]
    occupies: frozenset[str]
    """What no other fault may touch meanwhile: a process that is stopped cannot be restarted, too."""


@dataclass(frozen=True, slots=True)
class Planned:
    at_s: float
    kind: str
    target: str
    duration_s: float


def make_plan(
    seed: str, choices: Sequence[Choice], count: int, span_s: float, extra: Sequence[Choice] = ()
) -> list[Planned]:
    """Return ``count`` faults, spread over ``span_s`` or a little more, in the order of their time.

    Every kind comes once before any comes twice; faults overlap, but never in what they occupy. Each of ``extra``
    comes exactly once, in the midst of the others.
    """
    due = {(number + 1) * count // (len(extra) + 1): choice for number, choice in enumerate(extra)}
    rng = Random(seed)
    by_kind: dict[str, list[Choice]] = {}
    for choice in choices:
        by_kind.setdefault(choice.kind, []).append(choice)
    free_at_s: dict[str, float] = {}
    deck: list[str] = []
    planned: list[Planned] = []
    for number in range(count):
        if not deck:
            deck = sorted(by_kind)
            rng.shuffle(deck)
        at_s = (number + rng.random()) * span_s / count
        if number in due:
            choice = due[number]
        else:
            choice = _first_free([rng.choice(by_kind[kind]) for kind in deck], free_at_s, at_s)
            deck.remove(choice.kind)
        at_s = max(at_s, _free_at(choice, free_at_s))
        duration_s = rng.uniform(*choice.lasts_s)
        free_at_s |= dict.fromkeys(choice.occupies, at_s + duration_s + SETTLE_S)
        planned.append(Planned(round(at_s, 2), choice.kind, choice.target, round(duration_s, 2)))
    return sorted(planned, key=lambda fault: fault.at_s)


def _free_at(choice: Choice, free_at_s: dict[str, float]) -> float:
    return max((free_at_s.get(name, 0.0) for name in choice.occupies), default=0.0)


def _first_free(candidates: Sequence[Choice], free_at_s: dict[str, float], at_s: float) -> Choice:
    """Return the first that could strike at once, or else the one that need wait the least."""
    return min(candidates, key=lambda choice: max(at_s, _free_at(choice, free_at_s)))
