"""Flower as it comes: closed, bounded, and with a password in any case."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.exhaustive  # every test starts a Python with Flower in it

SHOW = (
    "import json; import pman_worker.monitor as m; "
    "print(json.dumps({n: m.options[n] for n in "
    "('address', 'read_only', 'max_tasks', 'max_workers', 'purge_offline_workers', 'basic_auth')}))"
)


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: tornado's options are global."""
    settings = {"CONTAINER_ENV": "docker", "STOREBASE": "/store", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", code], env=settings | env, capture_output=True, text=True, timeout=50, check=False
    )


def test_it_is_closed_and_bounded_and_prints_the_password_it_made() -> None:
    done = run(SHOW)
    assert done.returncode == 0, done.stderr
    options: dict[str, Any] = json.loads(done.stdout)
    made = options.pop("basic_auth")
    assert options == {
        "address": "127.0.0.1",
        "read_only": True,
        "max_tasks": 10_000,
        "max_workers": 500,
        "purge_offline_workers": 3600,
    }
    assert len(made) == 1
    assert len(made[0]) > len("pman:") + 16
    assert made[0] in done.stderr


@pytest.mark.parametrize("given", ["", "me:mine"])
def test_an_empty_password_is_none_and_a_given_one_stays_out_of_the_log(given: str) -> None:
    done = run("import pman_worker.monitor, os; print(os.environ.get('FLOWER_BASIC_AUTH'))", FLOWER_BASIC_AUTH=given)
    assert done.stdout.strip() == (given or "None")
    assert ("pman:" in done.stderr) == (not given)
    assert "mine" not in done.stderr


def test_it_needs_no_scheduler() -> None:
    done = run("import pman_worker.monitor, sys; print({'docker', 'kubernetes', 'backends.docker'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_wrong_settings_are_told() -> None:
    done = run("import pman_worker.monitor", STOREBASE="relative")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "STOREBASE" in done.stderr
