"""The option ``--require`` of our own test run."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.parametrize(
    ("arguments", "required"),
    [
        ([], []),
        (["--require=docker"], ["docker"]),
        (["--require", "docker, podman,"], ["docker", "podman"]),
        (["--require", "docker,podman", "--require", "swarm"], ["docker", "podman", "swarm"]),
    ],
)
def test_backends_are_required_one_by_one_or_with_commas(
    arguments: list[str], required: list[str], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # loading them takes longer than all of the test
    pytester.makeconftest(CONFTEST.read_text())
    assert pytester.parseconfig(*arguments).getoption("--require") == required
