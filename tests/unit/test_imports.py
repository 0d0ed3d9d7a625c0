"""Who may import whom. The rules are contracts in ``pyproject.toml`` (``lint-imports``); two are code, here."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from pman_core import registry

pytestmark = pytest.mark.exhaustive  # every test starts a Python with pman in it, or the linter

ROOT = Path(__file__).parents[2]


def test_the_contracts_are_kept() -> None:
    """In a process of its own: the linter sets up logging anew and silences every logger there is."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_no_backend_imports_another() -> None:
    """Private modules are shared between relatives; a list in a contract would grow with every backend."""
    graph = grimp.build_graph("backends", cache_dir=None)
    public = {module for module in graph.modules if module.startswith("backends.") and "._" not in module}
    assert {f"backends.{name}" for name in registry.names()} == public
    for module in public:
        assert graph.find_upstream_modules(module) & public == set(), f"{module} imports another backend"


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("pman_api.wsgi", ["backends", "pman_worker", "docker", "kubernetes"]),
        ("pman_worker.app", ["pman_api", "pman_client", "flask", "docker", "kubernetes"]),
        ("pman_client", ["pman_api", "pman_worker", "backends", "celery"]),
    ],
)
def test_what_a_process_has_loaded_once_it_is_imported(module: str, never: list[str], tmp_path: Path) -> None:
    """What the graph cannot see: imports by name, at run time."""
    program = f"import sys, {module}; print(*({set(never)!r} & sys.modules.keys()))"
    env = {"STOREBASE": str(tmp_path), "CONTAINER_ENV": "mock", "SECRET_KEY": "x", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == []
