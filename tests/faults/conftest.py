"""The systems of the tests on faults are those of the end-to-end tests."""

from tests.e2e.conftest import pytest_runtest_makereport, start

__all__ = ["pytest_runtest_makereport", "start"]
