"""How the API starts: with all it needs and nothing else in the process, or not at all and saying why."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import pman_api
from pman_api.startup import EXIT_HALT

PACKAGE = Path(pman_api.__file__).parent
ALLOWED = {"pman_api", "pman_core", "flask", "werkzeug"} | sys.stdlib_module_names
FORBIDDEN = ("backends", "pman_worker", "pman_client", "docker", "kubernetes")


def python(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter with nothing but ``settings`` in its environment."""
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )


@pytest.mark.exhaustive  # starts a Python with pman in it
def test_the_app_of_production_is_built_without_redis_and_without_any_scheduler() -> None:
    code = f"""
import sys
from pman_api.wsgi import app
assert sorted(app.view_functions) == ["delete", "describe", "health", "list", "openapi", "read", "ready", "submit"]
print(*[name for name in sys.modules if name.split(".")[0] in {FORBIDDEN}])
"""
    ended = python(code, CONTAINER_ENV="mock", STOREBASE="/data", REDIS_URL="redis://127.0.0.1:1/0")
    assert (ended.returncode, ended.stdout.strip()) == (0, ""), ended.stderr


@pytest.mark.exhaustive  # starts a Python with pman in it
def test_wrong_settings_are_all_named_and_the_server_is_told_to_halt() -> None:
    ended = python("import pman_api.wsgi", STOREBASE="relative", REDIS_URL="http://x", LIVE_LOGS_S="-1")
    assert ended.returncode == EXIT_HALT
    assert "Traceback" not in ended.stderr
    for name in ("REDIS_URL:", "LIVE_LOGS_S:"):
        assert name in ended.stderr


def test_gunicorn_checks_the_settings_once_before_it_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOREBASE", "/data")
    monkeypatch.setenv("LIVE_LOGS_S", "never")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    conf = runpy.run_path(str(PACKAGE / "gunicorn.conf.py"))
    worker_class = "pman_api.worker_class.BoundedThreadWorker"
    assert (conf["worker_class"], conf["workers"], conf["preload_app"]) == (worker_class, 3, False)
    with pytest.raises(SystemExit) as ended:
        conf["on_starting"](None)
    assert ended.value.code == EXIT_HALT


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_a_module_imports_the_core_flask_and_the_standard_library_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        server = {"gunicorn"} if path.name == "worker_class.py" else set()  # loaded by the server only
        assert {name.split(".")[0] for name in names} <= ALLOWED | server, path.name
