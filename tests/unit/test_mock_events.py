"""The mock's event stream: order, resumption, unfinished lines."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends._mock_events import Agenda, Cursor
from backends._mock_folder import Faults

START = Cursor(0, 0.0)


def line(job: str, *at_s: float, instance: str = "ours") -> bytes:
    return json.dumps({"event": "submit", "id": job, "instance": instance, "at_s": at_s}).encode() + b"\n"


def told(agenda: Agenda, now_s: float) -> list[tuple[float, str]]:
    return list(iter(lambda: agenda.pop(now_s), None))


def test_changes_are_told_in_the_order_of_time() -> None:
    agenda = Agenda(START, "ours")
    agenda.read(line("a", 1, 9) + line("b", 2, 3))
    assert told(agenda, 5) == [(1, "a"), (2, "b"), (3, "b")]
    assert told(agenda, 9) == [(9, "a")]


def taken(agenda: Agenda, now_s: float, **faults: object) -> list[str]:
    return [generation for (_, generation), _ in agenda.take(now_s, Faults.model_validate(faults))]


def test_changes_are_told_late() -> None:
    agenda = Agenda(START, "ours")
    agenda.read(line("a", 1) + line("b", 2))
    assert taken(agenda, 3, late_events_s=1.5) == ["a"]
    assert taken(agenda, 3.5, late_events_s=1.5) == ["b"]


def test_changes_are_told_twice() -> None:
    agenda = Agenda(START, "ours")
    agenda.read(line("a", 1) + line("b", 2))
    assert taken(agenda, 3, repeat_events=True) == ["a", "a", "b", "b"]


def test_changes_are_told_backwards_and_no_place_to_resume_leaves_one_out() -> None:
    agenda = Agenda(START, "ours")
    agenda.read(line("a", 1.1) + line("b", 1.2) + line("c", 1.7))
    assert taken(agenda, 1.4, reorder_events=True) == []
    told = agenda.take(1.6, Faults(reorder_events=True))
    assert [generation for (_, generation), _ in told] == ["b", "a"]
    resumed = Agenda(Cursor.parse(told[0][1]), "ours")
    resumed.read(line("a", 1.1) + line("b", 1.2))
    assert taken(resumed, 1.6) == ["a", "b"]


def test_changes_are_lost() -> None:
    agenda = Agenda(START, "ours")
    agenda.read(line("a", 1) + line("b", 2))
    assert taken(agenda, 1, lose_events=True) == []
    assert taken(agenda, 2) == ["b"]


def test_other_instances_are_left_out() -> None:
    agenda = Agenda(START, "ours")
    agenda.read(line("a", 1, instance="theirs"))
    assert told(agenda, 9) == []


def test_an_unfinished_line_waits_for_its_end() -> None:
    whole = line("a", 1)
    agenda = Agenda(START, "ours")
    agenda.read(whole[:10])
    assert (agenda.offset, told(agenda, 9)) == (0, [])
    agenda.read(whole)
    assert (agenda.offset, told(agenda, 9)) == (len(whole), [(1, "a")])


def test_a_cursor_is_text_and_back() -> None:
    cursor = Cursor(123, 1700000000.123456)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "nonsense", "1", "@", "1@x"])
def test_nonsense_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cursor.parse(text)


def test_a_line_after_the_cursor_is_told_however_old_it_is() -> None:
    """Another process's clock may be behind."""
    known = line("a", 5)
    agenda = Agenda(Cursor(len(known), 6.0), "ours")
    agenda.read(known + line("b", 4))
    assert told(agenda, 9) == [(4, "b")]


@settings(deadline=None)
@given(
    jobs=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=3), max_size=8),
    stops=st.lists(st.integers(0, 20), max_size=5),
)
def test_whatever_the_interruptions_nothing_is_left_out(jobs: list[list[int]], stops: list[int]) -> None:
    journal = b"".join(line(f"job-{number}", *at_s) for number, at_s in enumerate(jobs))
    heard: set[tuple[float, str]] = set()
    cursor = START
    for now_s in (*sorted(stops), 20):
        agenda = Agenda(cursor, "ours")
        agenda.read(journal)
        while change := agenda.pop(now_s):
            heard.add(change)
            cursor = agenda.cursor
    assert heard == {(at_s, f"job-{number}") for number, times in enumerate(jobs) for at_s in times}
