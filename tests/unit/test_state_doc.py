"""The table of the ten rules in ``docs/state.md`` names only tests that there are, for every rule one at least."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = 10
RULE = re.compile(r"^\| \*\*(\d+)\. ")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    section = (ROOT / "docs/state.md").read_text().split("\n## The ten rules", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_the_rules_are_in_order_and_each_has_an_attack() -> None:
    rules = [int(match[1]) for match in map(RULE.match, rows()) if match]
    assert rules == list(range(1, RULES + 1))
    assert all(TEST.search(row) for row in rows())


def test_every_test_that_the_table_names_is_there() -> None:
    named = [match for row in rows() for match in TEST.findall(row)]
    assert not [f"{path}::{name}" for path, name in named if name not in functions_in(path)]
