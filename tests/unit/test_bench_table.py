"""The table of the benchmarks: a goal that is missed must show, a number must read the same everywhere."""

import io

import pytest
from rich.console import Console

from benchmarks.figure import Figure, Goal, median_ratio, number, percentile
from benchmarks.report import print_table, to_markdown

FAST = Figure("GET rate", Goal(3000, "at least"), 3012.4, "/s", "bare: 3,700 /s", 0.8141)
SLOW = Figure("POST p50", Goal(2.0, "at most"), 2.01, "ms", note="a busy minute")
POOR = Figure("dispatch", Goal(0.8, "at least", "ratio"), 400, "jobs/s", "echo: 600 /s", 0.667)


def test_a_goal_is_of_the_measured_value_or_of_the_ratio() -> None:
    assert [FAST.is_met, SLOW.is_met, POOR.is_met] == [True, False, False]
    assert not Figure("no ratio", Goal(0.8, "at least", "ratio"), 400, "").is_met


@pytest.mark.parametrize(
    ("value", "text"), [(3012.4, "3,012"), (164.2, "164"), (14.53, "14.5"), (1.4, "1.40"), (2.0, "2"), (0.06, "0.06")]
)
def test_three_digits_count(value: float, text: str) -> None:
    assert number(value) == text


def test_markdown_has_a_row_for_each_figure_and_its_notes_below() -> None:
    text = to_markdown([FAST, SLOW], "2 cores")
    assert "| GET rate | ≥ 3,000 /s | 3,012 /s | bare: 3,700 /s | 0.81 | yes |" in text
    assert "| POST p50 | ≤ 2 ms | 2.01 ms |  |  | **no** |" in text
    assert text.endswith("\n\nPOST p50: a busy minute\n")


def test_the_terminal_shows_the_same() -> None:
    console = Console(file=io.StringIO(), width=150, record=True)
    print_table(console, [FAST, POOR], "2 cores")
    text = console.export_text()
    assert "2 cores" in text
    assert "ratio ≥ 0.80" in text
    assert [line.split("│")[-2].strip() for line in text.splitlines() if "│ " in line] == ["yes", "no"]


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([float(value) for value in range(100)], 0.95) == 95.0
    assert percentile([7.0], 0.95) == 7.0


def test_the_ratio_is_that_of_the_pairs_not_of_the_medians() -> None:
    assert median_ratio([(1.0, 2.0), (10.0, 20.0), (30.0, 10.0)]) == 0.5
