"""The connection to a Docker engine over TCP with TLS: to a private engine that wants a client certificate."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from backends._engine.settings import ContainerSettings
from backends.docker import DockerBackend
from pman_core.backend import Health
from pman_core.errors import Rejected, Unavailable
from pman_core.settings import Settings
from testbed.ports import free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
SCRIPTS = Path(__file__).parents[2] / "testbed/docker"


@dataclass(frozen=True)
class TlsEngine:
    port: int
    certificates: Path


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[TlsEngine]:
    if os.getuid() != 0:
        pytest.skip("only root can start an engine")
    if not shutil.which("dockerd", path="/usr/sbin"):
        required = "docker" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)("no Docker here; testbed/docker/up.sh installs it")
    # The name of the folder is that of its control group, too.
    with TemporaryDirectory(prefix="pman-tls-", ignore_cleanup_errors=True) as home:
        port = free_port()
        settings = {
            "DOCKER_HOME": home,
            "DOCKER_SOCK": f"{home}/docker.sock",
            "DOCKER_TLS": "1",
            "DOCKER_TLS_PORT": str(port),
            "DOCKER_SWARM": "0",
            "DOCKER_SWARM_NODES": "0",
            "DOCKERD_OPTS": "--iptables=false",  # those of the machine's own engine stay as they are
            "DOCKER_WIPE": "1",
        }
        try:
            _run("up.sh", settings)
            yield TlsEngine(port, Path(home) / "tls")
        finally:
            _run("down.sh", settings)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of somebody the engine does not know, and who does not know the engine."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run(
        [*["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stranger"],
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(folder / "cert.pem", folder / "ca.pem")
    return folder


def opened(port: int, certificates: Path | None) -> DockerBackend:
    """Return an open backend, or raise as it does."""
    common = Settings(
        container_env="docker",
        storebase=Path("/"),
        docker_host=f"tcp://127.0.0.1:{port}",
        docker_tls_verify=certificates is not None,
        docker_cert_path=certificates,
    )
    backend = DockerBackend(common, ContainerSettings(engine_timeout_s=10))
    backend.open()
    return backend


@pytest.mark.parametrize("variable", ["", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_certificates_of_the_folder_count_and_nothing_else(
    variable: str, engine: TlsEngine, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(stranger / "ca.pem"))
    backend = opened(engine.port, engine.certificates)
    try:
        assert not list(backend.owned())
        assert backend.health() == Health(ok=True)
    finally:
        backend.close()


def test_missing_files_are_named(engine: TlsEngine, tmp_path: Path) -> None:
    shutil.copy(engine.certificates / "ca.pem", tmp_path)
    with pytest.raises(Rejected, match=r"DOCKER_CERT_PATH: .*cert\.pem, key\.pem"):
        opened(engine.port, tmp_path)


def test_a_client_that_the_engine_does_not_know_is_told_so(engine: TlsEngine, stranger: Path, tmp_path: Path) -> None:
    for folder, name in ((engine.certificates, "ca.pem"), (stranger, "cert.pem"), (stranger, "key.pem")):
        shutil.copy(folder / name, tmp_path)
    with pytest.raises(Unavailable, match=rf"tcp://127\.0\.0\.1:{engine.port}.*(?i:certificate)"):
        opened(engine.port, tmp_path)


def test_an_engine_that_the_client_does_not_know_is_refused(engine: TlsEngine, stranger: Path, tmp_path: Path) -> None:
    for folder, name in ((stranger, "ca.pem"), (engine.certificates, "cert.pem"), (engine.certificates, "key.pem")):
        shutil.copy(folder / name, tmp_path)
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        opened(engine.port, tmp_path)


def test_without_tls_the_engine_says_what_it_wants(engine: TlsEngine) -> None:
    with pytest.raises((Rejected, Unavailable), match="HTTPS"):
        opened(engine.port, None)


def _run(script: str, settings: dict[str, str]) -> None:
    subprocess.run([SCRIPTS / script], env=os.environ | settings, check=True, stdin=subprocess.DEVNULL)
