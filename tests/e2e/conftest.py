"""The whole system, started for one test and ended with it; on a failure, the logs of its processes are shown."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.system import System


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., System]]:
    """Return a function that makes a system; whatever it has started ends after the test."""
    systems: list[System] = []

    def make(**options: Any) -> System:
        systems.append(System(tmp_path / f"pman-{len(systems)}", **options))
        return systems[-1]

    yield make
    for system in systems:
        system.close()
        report = getattr(request.node, "report_call", None)
        if report is None or report.failed:
            for name in system.processes:
                request.node.add_report_section("call", f"log of {name}", system.output(name)[-5000:])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        item.report_call = report  # type: ignore[attr-defined]
