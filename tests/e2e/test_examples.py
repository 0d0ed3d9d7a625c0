"""Every example is run as its head says: on processes of this host, the scenario on real engines too."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import docker
import pytest
import requests

from backends._engine.labels import INSTANCE
from pman_core import registry
from testbed.engines import docker_url, lack, lack_of_swarm
from testbed.system import System, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGE = "busybox:test"
START_DOCKER = "testbed/docker/up.sh"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]


def run_system(start: Callable[..., System], backend: str, **env: str) -> System:
    system = start(backend=backend, env=env)
    system.start_all()
    system.wait_ready()
    return system


def run_example(system: System, *command: str | Path) -> str:
    """Run one, with the address of ``system`` as its head says; return what it has printed."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(system.folder),
        "PMAN_URL": system.url,
        "IMAGE": IMAGE,
        "JID": "an-example",
    }
    done = subprocess.run(
        [str(part) for part in command], env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert jobs_left(system) == []
    return done.stdout


def jobs_left(system: System) -> list[str]:
    """Return the jobs that an example has not deleted."""
    return [job["jid"] for job in requests.get(f"{system.url}/jobs/", timeout=30).json()["jobs"]]


def scenario(system: System) -> None:
    options = ("--url", system.url, "--image", IMAGE, "--storebase", system.store_base, "--patience-s", "120")
    output = run_example(system, sys.executable, EXAMPLES / "scenario.py", *options)
    assert [line.split()[0] for line in output.splitlines()] == ["ok"] * 3


def test_the_examples_on_processes_of_this_host(start: Callable[..., System]) -> None:
    system = run_system(start, "process")

    output = run_example(system, "sh", EXAMPLES / "curl.sh")
    assert output.startswith("create an-example\n")
    assert '"working\\n"' in output
    assert (system.store_base / "an-example" / "outgoing" / "when").read_text()

    output = run_example(system, "sh", EXAMPLES / "cli.sh")
    assert "SUCCEEDED" in output
    assert "done" in output.splitlines()

    output = run_example(system, sys.executable, EXAMPLES / "client.py", "--url", system.url, "--image", IMAGE)
    assert "finishedSuccessfully, exit code 0" in output
    assert "working" in output.splitlines()

    scenario(system)


def test_the_scenario_tells_what_is_wrong(start: Callable[..., System], tmp_path: Path) -> None:
    system = run_system(start, "process", PROCESS_ANY_IMAGE="no")
    command = [sys.executable, EXAMPLES / "scenario.py", "--url", system.url, "--image", IMAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "not ok" in done.stderr


@pytest.mark.parametrize(
    "backend",
    [pytest.param("docker", marks=pytest.mark.docker), pytest.param("swarm", marks=pytest.mark.swarm)],
)
def test_the_scenario_on_a_real_engine(
    start: Callable[..., System], request: pytest.FixtureRequest, backend: str
) -> None:
    url = docker_url()
    required = backend in request.config.getoption("--require")
    if backend not in registry.names():
        pytest.skip(f"there is no backend {backend}")
    lacking = lack_of_swarm if backend == "swarm" else lack
    if reason := lacking(url, IMAGE, START_DOCKER):
        (pytest.fail if required else pytest.skip)(reason)
    # Other tests' jobs on the same engine are not ours.
    system = run_system(start, backend, DOCKER_HOST=str(url), PMAN_INSTANCE=f"t{secrets.token_hex(6)}")
    scenario(system)
    with contextlib.closing(docker.APIClient(url)) as engine:
        label = f"{INSTANCE}={system.env['PMAN_INSTANCE']}"
        wait_for("nothing is left on the engine", lambda: not on_engine(engine, backend, label))


def on_engine(engine: docker.APIClient, backend: str, label: str) -> list[object]:
    """Return the native objects with ``label``."""
    ask = engine.services if backend == "swarm" else partial(engine.containers, all=True)
    found: list[object] = ask(filters={"label": label})
    return found
