"""The table of states is complete, and no way leads back or out of an end."""

import pytest

from pman_core.states import NATIVE, SOURCES, TERMINAL, WAITING, WIRE_STATUS, Reason, State

LIFE = list(State)  # in the order of life


def test_every_state_has_its_sources_and_its_word_on_the_wire() -> None:
    assert set(SOURCES) == set(WIRE_STATUS) == set(State)


def test_every_state_is_in_exactly_one_group() -> None:
    assert sorted([*WAITING, *NATIVE, *TERMINAL]) == sorted(State)


def test_nothing_comes_after_an_end() -> None:
    for sources in SOURCES.values():
        assert not sources & TERMINAL


def test_a_job_only_moves_forward_except_for_the_one_way_back() -> None:
    back = {
        (source, target)
        for target, sources in SOURCES.items()
        for source in sources
        if LIFE.index(source) > LIFE.index(target)
    }
    assert back == {(State.SUBMITTING, State.QUEUED)}


def test_short_jobs_may_skip_every_state_between() -> None:
    for target in TERMINAL | {State.RUNNING}:
        assert SOURCES[target] >= WAITING | {State.PENDING}


def test_an_end_cannot_be_written_twice() -> None:
    for state in TERMINAL:
        assert state not in SOURCES[state]


@pytest.mark.parametrize(
    ("status", "states"),
    [
        ("notstarted", {State.QUEUED, State.SUBMITTING, State.PENDING}),
        ("started", {State.RUNNING}),
        ("finishedSuccessfully", {State.SUCCEEDED}),
        ("finishedWithError", {State.FAILED, State.CANCELLED}),
        ("undefined", {State.LOST}),
    ],
)
def test_the_words_of_the_wire_are_those_of_the_contract(status: str, states: set[State]) -> None:
    assert {state for state, word in WIRE_STATUS.items() if word == status} == states


def test_reasons_and_states_spell_their_own_names() -> None:
    for member in [*State, *Reason]:
        assert member.value == member.name
