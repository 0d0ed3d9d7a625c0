"""Systems of pman on a real engine, behind a proxy that counts calls; a namespace of a cluster; images for Slurm."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from testbed import engines
from testbed.engine_proxy import EngineProxy
from testbed.private_engine import PrivateEngine
from testbed.system import System
from tests.engines.jobs import FAST, IMAGE, remove_all
from tests.engines.kube import Cluster, cluster, need_cluster
from tests.engines.slurm import need_slurm, put_archive, shared_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of a Unix socket has at most 107 characters; and one that every user may enter."""
    with TemporaryDirectory(prefix="pman-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def private_engine() -> Iterator[Callable[..., PrivateEngine]]:
    """Return a function that starts an engine for this test alone."""
    started: list[PrivateEngine] = []

    def start(*options: str) -> PrivateEngine:
        started.append(PrivateEngine(*options))
        started[-1].start()
        return started[-1]

    yield start
    for engine in started:
        engine.close()


@pytest.fixture
def proxied(folder: Path) -> Iterator[Callable[[str], EngineProxy]]:
    """Return a function that puts a proxy before the engine at a URL."""
    proxies: list[EngineProxy] = []

    def put(url: str) -> EngineProxy:
        proxies.append(EngineProxy(Path(url.removeprefix("unix://")), folder / f"{len(proxies)}.sock"))
        return proxies[-1]

    yield put
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def start(folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., System]]:
    """Return a function that brings up all of pman on the engine at a URL."""
    systems: list[System] = []
    urls: dict[System, str] = {}

    def bring_up(url: str, backend: str = "docker", **env: str) -> System:
        where = "CONTAINER_HOST" if backend == "podman" else "DOCKER_HOST"
        instance = f"s{len(systems)}-{folder.name.removeprefix('pman-').lower().replace('_', '-').strip('-')}"
        system = System(
            folder / f"system-{len(systems)}", backend, env=FAST | {where: url, "PMAN_INSTANCE": instance} | env
        )
        systems.append(system)
        urls[system] = url
        system.start_all()
        system.wait_ready()
        return system

    yield bring_up
    for system in systems:
        system.close()
        remove_all(urls[system], system)
        report = getattr(request.node, "report_call", None)
        if report is None or report.failed:
            for name in system.processes:
                request.node.add_report_section("call", f"log of {name}", system.output(name)[-5000:])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        item.report_call = report  # type: ignore[attr-defined]


@pytest.fixture
def docker_url(request: pytest.FixtureRequest) -> str:
    return _url("docker", engines.docker_url(), "testbed/docker/up.sh", request)


@pytest.fixture
def podman_url(request: pytest.FixtureRequest) -> str:
    return _url("podman", engines.podman_url(), "testbed/podman/up.sh", request)


@pytest.fixture(scope="module")
def kube(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    need_cluster(request)
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def slurm_images(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A site's folder of images with the test image, and beside it what Apptainer has made of that."""
    need_slurm(request)
    with shared_folder() as folder:
        yield put_archive(folder)


def _url(name: str, url: str | None, script: str, request: pytest.FixtureRequest) -> str:
    if url is None or (lack := engines.lack(url, IMAGE, script)):
        required = name in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lack if url else f"no engine answers; {script} starts one")
    return url
