"""The parts of the kit's cluster: an API server to be killed, a kubelet to be stopped, a second API server beside it.

Only of a cluster that ``testbed/kube/up.sh`` has started from the kit, on this machine and as root.
"""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from testbed.cluster import answers, is_well
from testbed.ports import free_port
from testbed.processes import is_left
from testbed.system import wait_for

UP = Path(__file__).parent / "kube" / "up.sh"
PIDS = Path("/run/pman-kube")
UP_S = 600
API_SERVER = "kube-apiserver"
KUBELET = "kubelet"

AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
"""


def owns(kubeconfig: Path | None) -> bool:
    """Whether a kubeconfig is the access to the kit's cluster."""
    return kubeconfig == access()


def lack() -> str:
    """Say why the kit's cluster cannot be given faults, or ``""``."""
    if os.geteuid() != 0:
        return "only root may stop the parts of the cluster"
    for name in (API_SERVER, KUBELET):
        try:
            part(name)
        except (OSError, ValueError, psutil.Error) as error:
            return f"there is no {name} in {PIDS}: {error}"
    return ""


def part(name: str) -> psutil.Process:
    """Return the process of a part.

    Raises:
        OSError, ValueError, psutil.Error: it is not there.
    """
    process = psutil.Process(int((PIDS / f"{name}.pid").read_text()))
    if Path(process.cmdline()[0]).name != name:
        raise ValueError(f"{process.pid} is {process.cmdline()[0]}")
    return process


def kill_api_server() -> None:
    """``kill -9``."""
    process = part(API_SERVER)
    process.kill()
    wait_for("the API server is gone", lambda: not is_left(process))


def bring_back() -> None:
    """Start what has ended; return when the API server answers and its node is Ready."""
    # Not with one's KUBECONFIG: the script would take it for that of another cluster, which is away.
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    subprocess.run([UP], env=env, timeout=UP_S, check=True)
    _wait_until_well()


@contextmanager
def without_api_server() -> Iterator[None]:
    """Kill it, and bring it back."""
    try:
        kill_api_server()
        yield
    finally:
        bring_back()


@contextmanager
def stopped_kubelet() -> Iterator[None]:
    """SIGSTOP the kubelet, and continue it; return when its node is Ready again, as the next test expects it."""
    process = part(KUBELET)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
        _wait_until_well()


def _wait_until_well() -> None:
    since = datetime.now(UTC)
    wait_for("the node is well", lambda: is_well(access(), since), UP_S)


def access() -> Path:
    """Return the access to the kit's cluster."""
    return Path(os.environ.get("KUBE_HOME", "/var/lib/pman-kube")) / "admin.kubeconfig"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the API server's own audit log has it."""

    verb: str
    """get, list, watch, create, patch, delete, deletecollection."""
    resource: str
    """With its subresource, ``pods/log``; empty for what is no resource."""
    uri: str
    code: int
    """Of the answer."""


class AuditedServer:
    """A second API server on the same etcd, which writes down every call. Nobody but its client speaks to it.

    https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
    """

    def __init__(self, folder: Path, access: Path) -> None:
        self._folder = folder
        self._log = folder / "audit.log"
        port = free_port()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.touch(0o600)
        (folder / "policy.yaml").write_text(AUDIT_POLICY)
        first = part(API_SERVER).cmdline()
        (option,) = (argument for argument in first if argument.startswith("--secure-port="))
        here = f"127.0.0.1:{option.removeprefix('--secure-port=')}"
        self.kubeconfig.write_text(access.read_text().replace(here, f"127.0.0.1:{port}"))
        argv = [
            *(argument for argument in first if argument != option),
            f"--secure-port={port}",
            f"--audit-log-path={self._log}",
            f"--audit-policy-file={folder / 'policy.yaml'}",
            # The service `kubernetes` goes on leading to the first.
            "--endpoint-reconciler-type=none",
        ]
        with (folder / "server.log").open("wb") as output:
            self._process = psutil.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            wait_for("the second API server answers", lambda: answers(self.kubeconfig), 240)
        except BaseException:
            self.close()
            raise

    def calls(self, user_agent: str = "pman") -> list[Call]:
        """Return every call that has been answered to who names itself so."""
        found = []
        for line in self._log.read_text().splitlines():
            with suppress(ValueError):  # the last line, being written
                entry = json.loads(line)
                if entry["userAgent"] == user_agent:
                    what = entry.get("objectRef") or {}
                    parts = (what.get("resource"), what.get("subresource"))
                    code = entry["responseStatus"]["code"]
                    found.append(Call(entry["verb"], "/".join(filter(None, parts)), entry["requestURI"], code))
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def audited_server(access: Path) -> Iterator[AuditedServer]:
    """Start one for the cluster of a kubeconfig; end it."""
    with TemporaryDirectory(prefix="pman-audit-") as folder:
        server = AuditedServer(Path(folder), access)
        try:
            yield server
        finally:
            server.close()


def count(calls: list[Call]) -> Counter[str]:
    """Return how often each kind of call was made."""
    return Counter(f"{call.verb} {call.resource or call.uri}" for call in calls)
