"""The protocol, looked at whole: every order of steps, crashes and sleeps within the bounds of each scenario."""

import re
from pathlib import Path

import pytest

from tests.model.explorer import Explorer, Report
from tests.model.invariants import Invariant
from tests.model.point import Scenario
from tests.model.scenarios import EXHAUSTIVE, FAST

STATE_MD = Path(__file__).parents[2] / "docs" / "state.md"


def explore(scenario: Scenario) -> Report:
    report = Explorer(scenario).run()
    print(report)  # noqa: T201
    return report


@pytest.mark.parametrize("scenario", FAST, ids=lambda scenario: scenario.name)
def test_no_invariant_is_broken_within_small_bounds(scenario: Scenario) -> None:
    assert not explore(scenario).counterexample


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", EXHAUSTIVE, ids=lambda scenario: scenario.name)
def test_no_invariant_is_broken(scenario: Scenario) -> None:
    report = explore(scenario)
    assert not report.counterexample
    assert report.quiet > 0


def test_the_documentation_names_the_invariants() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (.+) \|$", STATE_MD.read_text(), re.MULTILINE)
    assert [row for row in rows if row[0] in Invariant.__members__] == [(one.name, one.value) for one in Invariant]
