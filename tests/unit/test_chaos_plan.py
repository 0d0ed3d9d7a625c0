"""The plan of a night: the same for the same seed, with every kind in it, and nothing hit twice at once."""

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.kinds import WIPE, of_backend
from tests.faults.plan import Choice, make_plan

CHOICES = {
    backend: [choice for kind in of_backend(backend).values() if kind is not WIPE for choice in kind.choices(12)]
    for backend in ("process", "mock", "docker")
}


def test_the_same_seed_makes_the_same_plan() -> None:
    choices = CHOICES["process"]
    assert make_plan("7", choices, 60, 200) == make_plan("7", choices, 60, 200)
    assert make_plan("7", choices, 60, 200) != make_plan("8", choices, 60, 200)


def test_every_backend_has_at_least_fourteen_kinds() -> None:
    assert {backend: len({choice.kind for choice in choices}) >= 14 for backend, choices in CHOICES.items()} == {
        "process": True,
        "mock": True,
        "docker": True,
    }


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=5), st.sampled_from(sorted(CHOICES)), st.integers(1, 80))
def test_as_many_faults_as_asked_for_and_every_kind_before_any_comes_again(seed: str, backend: str, count: int) -> None:
    kinds = {choice.kind for choice in CHOICES[backend]}
    counts = Counter(planned.kind for planned in make_plan(seed, CHOICES[backend], count, 200))
    assert counts.total() == count
    assert len(counts) == min(count, len(kinds))
    assert max(counts.values()) <= -(-count // len(kinds))


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=5), st.sampled_from(sorted(CHOICES)))
def test_what_is_hit_is_left_alone_by_all_others(seed: str, backend: str) -> None:
    occupies = {(choice.kind, choice.target): choice.occupies for choice in CHOICES[backend]}
    free_at_s: dict[str, float] = defaultdict(float)
    for planned in make_plan(seed, CHOICES[backend], 60, 200):
        for name in occupies[planned.kind, planned.target]:
            assert planned.at_s >= free_at_s[name]
            free_at_s[name] = planned.at_s + planned.duration_s


def test_faults_are_spread_over_the_night() -> None:
    choices = [Choice(f"kind-{n}", f"target-{n}", (1, 2), frozenset({f"target-{n}"})) for n in range(10)]
    plan = make_plan("1", choices, 20, 100)
    assert [int(planned.at_s // 5) for planned in plan] == list(range(20))


def test_a_target_that_is_never_free_makes_the_night_longer() -> None:
    plan = make_plan("1", [Choice("kind", "only", (10, 10), frozenset({"only"}))], 5, 1)
    assert plan[-1].at_s >= 40


def test_wipes_come_as_often_as_asked_for_and_the_rest_as_before() -> None:
    wipe = Choice("wipe", "redis", (1, 1), frozenset({"redis"}))
    counts = Counter(planned.kind for planned in make_plan("1", CHOICES["mock"], 40, 200, [wipe, wipe]))
    assert counts.total() == 40
    assert counts["wipe"] == 2
