"""Options of the whole test run: pytest only takes them from here."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="BACKEND",
        help="fail, instead of skipping, when the scheduler of this backend is not there",
    )
