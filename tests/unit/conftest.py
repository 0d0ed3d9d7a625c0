"""Leaves to ``make model`` the unit tests whose every step starts programs, as the contract suite does."""

from pathlib import Path

import pytest

from tests.unit.hpc_harness import BASHES

HERE = Path(__file__).parent
STARTS_PROGRAMS = {"cromwell", "lives", "kube"}
"""Fixtures that are a fake Cromwell (a server, and several shells for each job, each look and each abort) or a whole
fake cluster: a server, controllers and a kubelet that runs the jobs."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and STARTS_PROGRAMS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.exhaustive)


@pytest.fixture(params=BASHES)
def bash(request: pytest.FixtureRequest) -> str:
    """The bash of a node: this machine's, and each other one that is here."""
    return str(request.param)
