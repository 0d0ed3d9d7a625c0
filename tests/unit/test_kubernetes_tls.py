"""Certificates that are not trusted, by either side, with a real server: nothing is concluded, and it says why."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends.kubernetes import KubernetesBackend, KubernetesSettings
from pman_core.errors import Unavailable
from tests.unit.kube_objects import common

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make certificates with")

DISTRUST = "no TLS with the API server: "


class Certificates:
    """What ``openssl`` makes in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority("site")
        self.authority("stranger")

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def authority(self, name: str) -> None:
        self._run("req", "-x509", *self._new_key(name), "-subj", f"/CN={name}", "-out", str(self.path(name)))

    def signed(self, name: str, by: str = "site", host: str = "IP:127.0.0.1", days: int = 1) -> None:
        request, more = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        more.write_text(f"subjectAltName={host}\n")
        self._run("req", "-new", *self._new_key(name), "-subj", f"/CN={name}", "-out", str(request))
        signer = ["-CA", str(self.path(by)), "-CAkey", str(self.path(f"{by}-key")), "-CAcreateserial"]
        ends = ["-days", str(days), "-extfile", str(more)]
        self._run("x509", "-req", "-in", str(request), *signer, *ends, "-out", str(self.path(name)))

    def _new_key(self, name: str) -> list[str]:
        key = str(self.path(f"{name}-key"))
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key]

    @staticmethod
    def _run(*args: str) -> None:
        subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.signed("server")
    made.signed("expired", days=-1)
    made.signed("elsewhere", host="DNS:api.example.org")
    made.signed("client")
    made.signed("unknown-client", by="stranger")
    return made


class _Version(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"major": "1"}')

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A handshake that fails is what the tests are for."""


@dataclass
class Site:
    """A server with a certificate, and whoever calls it."""

    certificates: Certificates
    folder: Path
    port: int
    context: ssl.SSLContext

    def open(self, *, authority: str = "site", client: str = "") -> None:
        """Open the backend, which asks for the version.

        Raises:
            Unavailable: they do not trust each other.
        """
        path = self.certificates.path
        user = {"client-certificate": str(path(client)), "client-key": str(path(f"{client}-key"))} if client else {}
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(path(authority))}
        access = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": cluster}],
            "users": [{"name": "a", "user": user}],
        }
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(access))
        backend = KubernetesBackend(
            common(), KubernetesSettings(kubeconfig=str(kubeconfig), gpus="no", kube_timeout_s=5)
        )
        try:
            backend.open()
        finally:
            backend.close()


def served(certificates: Certificates, folder: Path, name: str, *, asks_client: bool = False) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.path(name), certificates.path(f"{name}-key"))
    if asks_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.path("site"))
    server = _Quiet(("127.0.0.1", 0), _Version)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    yield Site(certificates, folder, server.server_port, context)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(request: pytest.FixtureRequest, certificates: Certificates, tmp_path: Path) -> Iterator[Site]:
    yield from served(certificates, tmp_path, request.param)


@pytest.fixture
def strict(certificates: Certificates, tmp_path: Path) -> Iterator[Site]:
    """It wants to see a client certificate."""
    yield from served(certificates, tmp_path, "server", asks_client=True)


@pytest.mark.parametrize("site", ["server"], indirect=True)
def test_who_is_trusted_is_called(site: Site) -> None:
    site.open()


@pytest.mark.parametrize("site", ["server"], indirect=True)
def test_another_authority(site: Site) -> None:
    with pytest.raises(Unavailable, match=f"{DISTRUST}.*unable to get local issuer certificate"):
        site.open(authority="stranger")


@pytest.mark.parametrize("site", ["expired"], indirect=True)
def test_a_certificate_that_has_expired(site: Site) -> None:
    with pytest.raises(Unavailable, match=f"{DISTRUST}.*certificate has expired"):
        site.open()


@pytest.mark.parametrize("site", ["elsewhere"], indirect=True)
def test_a_certificate_of_another_host(site: Site) -> None:
    with pytest.raises(Unavailable, match=f"{DISTRUST}.*IP address mismatch"):
        site.open()


def test_a_client_certificate_that_is_trusted(strict: Site) -> None:
    strict.open(client="client")


@pytest.mark.parametrize(("client", "why"), [("", "handshake failure"), ("unknown-client", "unknown ca")])
def test_a_client_that_is_refused(strict: Site, client: str, why: str) -> None:
    strict.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(Unavailable, match=f"(?i){DISTRUST}.*{why}"):
        strict.open(client=client)


@pytest.mark.parametrize("client", ["", "unknown-client"])
def test_a_client_that_is_refused_after_the_handshake(strict: Site, client: str) -> None:
    """So it is since TLS 1.3; who writes meanwhile may find the connection closed before it has read why."""
    with pytest.raises(Unavailable, match=f"{DISTRUST}|does not answer"):
        strict.open(client=client)
