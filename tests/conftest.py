"""Options of the whole test run: pytest only takes them from here."""

import gc
import os

import pytest


def names(value: str) -> list[str]:
    """Read ``docker,podman``."""
    return [name.strip() for name in value.split(",") if name.strip()]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="extend",
        type=names,
        default=[],
        metavar="BACKEND,...",
        help="fail, instead of skipping, when the scheduler of such a backend is not there",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits long: it costs nothing while the other tests run, and minutes after them."""
    items.sort(key=lambda item: item.get_closest_marker("long_wait") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto`` is one more than there are processors: tests that wait for a job leave theirs idle."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep the collector from looking again and again at what stays: libraries and thousands of collected tests."""
    gc.collect()
    gc.freeze()
