"""The images and docker-compose.yml for real: built, started, one job through HTTP, scaled, taken down.

One long test, not several: each process of pytest that got one of several would start a pman of its own.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from testbed.ports import free_port
from testbed.system import wait_for

ROOT = Path(__file__).parents[2]
BASE = "python:3.11-slim-bookworm"
REDIS = "pman-test-redis"
TAG = "e2e"
BUILD_S = 900
START_S = 240
STATUS_OF_CELERY = """
from pathlib import Path
# 1 is the init, and whoever asks is root, as the container was started; health checks come later, and go.
for process in sorted(Path('/proc').glob('[0-9]*'), key=lambda process: int(process.name)):
    try:
        if (process / 'cmdline').read_bytes().startswith(b'/venv/'):
            print((process / 'status').read_text())
            break
    except OSError:
        continue
"""
SERVICES = ["api", "control", "flower", "observer", "pull", "redis", "worker"]

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(BUILD_S + START_S)]


def run(*argv: str, env: dict[str, str] | None = None, timeout_s: float = 120) -> str:
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
    return done.stdout


class Compose:
    """One `docker compose` project, with its own name, ports and store base."""

    def __init__(self, folder: Path) -> None:
        self.name = f"pman-e2e-{os.getpid()}"
        self.store_base = folder / "store"
        self.api_port, self.flower_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.env = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ} | {
            # A developer's own .env is not what is tested; testbed/compose-test.yml keeps it from the containers.
            "COMPOSE_DISABLE_ENV_FILE": "1",
            "COMPOSE_PROJECT_NAME": self.name,
            "PMAN_TAG": TAG,
            "PMAN_PORT": str(self.api_port),
            "PMAN_FLOWER_PORT": str(self.flower_port),
            "REDIS_IMAGE": REDIS,
            "STOREBASE": str(self.store_base),
            # So that its jobs are nobody else's, on an engine that others use.
            "PMAN_INSTANCE": self.name,
        }

    def __call__(self, *argv: str, timeout_s: float = START_S) -> str:
        files = ("-f", "docker-compose.yml", "-f", "testbed/compose-test.yml")
        return run("docker", "compose", *files, *argv, env=self.env, timeout_s=timeout_s)

    def states(self) -> list[tuple[str, str]]:
        lines = self("ps", "--all", "--format", "json").splitlines()
        return sorted((found["Service"], found["Health"]) for found in map(json.loads, lines))


def missing() -> str:
    """Return what keeps these tests from running, or nothing."""
    if not shutil.which("docker"):
        return "no docker command"
    for what, argv in {
        "no engine that answers": ["docker", "version"],
        "no Compose: .ci/containers installs it": ["docker", "compose", "version"],
        f"no image {BASE}: docker pull it, or testbed/base_image.sh": ["docker", "image", "inspect", BASE],
    }.items():
        if subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode != 0:
            return what
    return ""


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Compose]:
    """Return a project with its images built; whatever the tests have started is removed after them."""
    if why := missing():
        # Not "docker": `make engines` requires that, and has an engine but perhaps no Compose.
        if "compose" in request.config.getoption("--require"):
            pytest.fail(why)
        pytest.skip(why)
    compose = Compose(tmp_path_factory.mktemp("compose"))
    text = (ROOT / "testbed" / "redis.Dockerfile").read_bytes()
    subprocess.run(["docker", "build", "-q", "-t", REDIS, "-"], input=text, check=True, timeout=BUILD_S)
    compose("build", timeout_s=BUILD_S)
    try:
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "10")


def has_packages(image: str, *names: str) -> list[bool]:
    code = f"import importlib.util as u; print(*(int(u.find_spec(n) is not None) for n in {names!r}))"
    found = run("docker", "run", "--rm", "--entrypoint", "python", f"{image}:{TAG}", "-c", code)
    return [word == "1" for word in found.split()]


def test_only_the_worker_has_a_schedulers_sdk_and_nobody_is_root(compose: Compose) -> None:
    packages = ("pman_core", "docker", "kubernetes", "flower")
    assert has_packages("pman-api", *packages) == [True, False, False, False]
    assert has_packages("pman-worker", *packages) == [True, True, False, False]
    assert has_packages("pman-flower", *packages) == [True, False, False, True]
    for image in ("pman-api", "pman-worker", "pman-flower"):
        assert run("docker", "run", "--rm", f"{image}:{TAG}", "id", "-u").strip() == "10001"


def test_compose_alone_is_a_working_pman(compose: Compose) -> None:
    compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(START_S))
    assert compose.states() == [(name, "healthy") for name in SERVICES]
    runs_a_job(compose)
    has_given_up_root_and_kept_the_socket(compose)
    keeps_flower_closed(compose)
    compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "worker=3", "--wait")
    assert compose.states().count(("worker", "healthy")) == 3
    compose("down", "--volumes", "--timeout", "10")
    for kind in ("container", "volume", "network"):
        listing = ("ls", "-q", "--filter", f"label=com.docker.compose.project={compose.name}")
        assert run("docker", kind, *listing, *(["--all"] if kind == "container" else [])) == ""


def runs_a_job(compose: Compose) -> None:
    job = {
        "jid": compose.name,
        "type": "fs",
        "image": BASE,
        "entrypoint": ["sh", "-c", 'echo from a container; hostname > "$0/host"'],
        "args": [],
        "auid": "cube",
        "number_of_workers": 1,
        "cpu_limit": 1000,
        "memory_limit": 200,
        "gpu_limit": 0,
        "input_dir": "a-job/in",
        "output_dir": "a-job/out",
    }
    call(compose, "POST", "", 201, json=job)

    def ended() -> dict[str, str] | None:
        record: dict[str, str] = call(compose, "GET", f"{compose.name}/", 200).json()
        return record if record["status"] not in {"notstarted", "started"} else None

    record = wait_for("the job has ended", ended, 120)
    assert (record["status"], record["logs"]) == ("finishedSuccessfully", "from a container\n"), record
    assert (compose.store_base / "a-job" / "out" / "host").read_text().strip(), "the same path outside and inside"
    call(compose, "DELETE", f"{compose.name}/", 204)

    def containers() -> str:
        return run("docker", "ps", "-aq", "--filter", f"name=pman-{compose.name}-")

    wait_for("the job's container is gone", lambda: containers() == "", 120)


def call(compose: Compose, method: str, path: str, code: int, **options: object) -> requests.Response:
    """Ask again while the answer is 503: Redis has a second to answer, on a disk that has just taken three images."""

    def answer() -> requests.Response | None:
        reply = requests.request(method, f"{compose.url}/api/v1/{path}", timeout=30, **options)  # type: ignore[arg-type]
        assert reply.status_code in {code, 503}, reply.text
        return reply if reply.status_code == code else None

    return wait_for(f"{method} is answered", answer)


def has_given_up_root_and_kept_the_socket(compose: Compose) -> None:
    status = compose("exec", "-T", "worker", "/usr/bin/env", "python", "-c", STATUS_OF_CELERY)
    fields = dict(line.split(":", 1) for line in status.splitlines() if line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert fields["NoNewPrivs"].strip() == "1"
    assert int(fields["CapBnd"], 16) == 1, "CAP_CHOWN and nothing else"
    assert fields["Groups"].split() == [str(Path("/var/run/docker.sock").stat().st_gid)]


def keeps_flower_closed(compose: Compose) -> None:
    url = f"http://127.0.0.1:{compose.flower_port}"
    assert requests.get(f"{url}/workers", timeout=30).status_code == 401
    password = compose("logs", "flower").rsplit("it is pman:", 1)[1].split()[0]

    def workers() -> set[str]:
        """Return the names of those who have answered: each has a second to do so."""
        reply = requests.get(f"{url}/api/workers", params={"refresh": "1"}, auth=("pman", password), timeout=30)
        return {name.split("@")[0] for name in reply.json()} if reply.ok else set()

    wait_for("Flower shows all workers", lambda: workers() == {"worker", "control", "pull"})
