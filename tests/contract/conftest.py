"""Gives every contract test a :class:`cases.BackendCase`: the same test, once for each case of each backend."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cases import BackendCase, case_names, load_case

from pman_core.backend import Backend

HERE = Path(__file__).parent
ALWAYS = "test_backend_life"
"""What is run of every case by `pytest` alone, and so in seconds, even if every call starts programs."""


def marks(name: str) -> list[pytest.MarkDecorator]:
    """Return the marker of the backend's case; one whose case cannot be had is always tested, and fails."""
    try:
        case = load_case(name)
    except (LookupError, ImportError):
        return []
    marked = [getattr(pytest.mark, case.marker)] if case.marker else []
    # A case that must be patient needs a test that may take so long.
    return [*marked, pytest.mark.timeout(case.patience_s * 4)] if case.patience_s > 30 else marked


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of what starts programs to ``make model``, before items are chosen by their markers."""
    slow = {name for name in case_names() if _starts_programs(name)}
    for item in items:
        if item.path.parent != HERE or item.path.stem == ALWAYS or not hasattr(item, "callspec"):
            continue
        if item.callspec.params.get("case") in slow:
            item.add_marker(pytest.mark.exhaustive)


def _starts_programs(name: str) -> bool:
    try:
        return load_case(name).starts_programs
    except (LookupError, ImportError):
        return False


@pytest.fixture(params=[pytest.param(name, marks=marks(name)) for name in case_names()])
def case(request: pytest.FixtureRequest) -> Iterator[BackendCase]:
    """One backend's case with a scheduler, or a part of one, to itself."""
    try:
        case_class = load_case(request.param)
    except LookupError as error:
        pytest.fail(str(error), pytrace=False)
    if lack := case_class.missing():
        required = {request.param, case_class.marker} & set(request.config.getoption("--require"))
        (pytest.fail if required else pytest.skip)(f"backend {request.param}: {lack}")
    # Not `tmp_path`: that one only its owner may enter, and a job may run as another user.
    with TemporaryDirectory(prefix="pman-contract-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        # Not from `random`: the random-order plugin seeds it alike before every test.
        opened = case_class(Path(folder), instance=f"t{secrets.token_hex(6)}")
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture
def backend(case: BackendCase) -> Backend:
    """One worker's backend of the case."""
    return case.make()
