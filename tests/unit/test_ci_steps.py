"""Every test is run by some step of CI: a new marker, or a moved file, must not leave one to nobody."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

ROOT = Path(__file__).parents[2]
SCRIPTS = ("Makefile", ".ci/run", ".ci/containers", ".ci/kubernetes")
COMMAND = re.compile(r"^\s*(?:\$\(BIN\)/|\.venv/bin/)?pytest\b(.*)$", re.MULTILINE)
COLLECT = """
import json, pytest, sys

class Told:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session):
        for item in session.items:
            print(json.dumps([item.nodeid, [marker.name for marker in item.iter_markers()]]), file=sys.stderr)

sys.exit(pytest.main(["-m", "", "-n", "0", "--collect-only", "-q"], plugins=[Told()]))
"""


@pytest.mark.exhaustive  # starts a Python that imports all tests
def test_every_test_is_run_by_some_step() -> None:
    collected = subprocess.run([sys.executable, "-c", COLLECT], cwd=ROOT, capture_output=True, text=True, check=True)
    tests: list[tuple[str, list[str]]] = [json.loads(line) for line in collected.stderr.splitlines() if line[:1] == "["]
    assert len(tests) > 1000
    commands = list(steps())
    left = [name for name, markers in tests if not any(runs(step, name, set(markers)) for step in commands)]
    assert left == []


def steps() -> Iterator[list[str]]:
    """Yield the arguments of each call of pytest."""
    for script in SCRIPTS:
        text = (ROOT / script).read_text().replace("\\\n", " ")
        yield from (shlex.split(arguments) for arguments in COMMAND.findall(text))


def runs(step: list[str], name: str, markers: set[str]) -> bool:
    chosen = value_of(step, "-m")
    expression = Expression.compile(default() if chosen is None else chosen)
    paths = [argument for argument in step if argument.startswith("tests/") and argument != value_of(step, "--ignore")]
    is_in = any(is_below(name, path) for path in paths or ["tests"])
    ignored = value_of(step, "--ignore")
    is_out = ignored is not None and is_below(name, ignored)
    return is_in and not is_out and expression.evaluate(lambda marker, **_: marker in markers)


def default() -> str:
    """Return the markers that ``pytest`` alone chooses by."""
    found = re.search(r"^addopts = .* -m '([^']*)'", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def value_of(step: list[str], option: str) -> str | None:
    return step[step.index(option) + 1] if option in step else None


def is_below(name: str, path: str) -> bool:
    return name.split("::", maxsplit=1)[0] == path or name.startswith(f"{path}/")
