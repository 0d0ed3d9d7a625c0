"""A swarm whose nodes are drained, killed, cut off and removed: a job is never silently running for ever, nor twice.

The swarm is the testbed's: ``DOCKER_SWARM_NODES=2 testbed/docker/up.sh``, as root. Its worker ``w1`` is the victim.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
import pytest

from backends.swarm import SwarmBackend, SwarmSettings
from pman_core.backend import Absent, JobRef, Observed, Sighting, Unknown
from pman_core.errors import Unavailable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings
from pman_core.states import TERMINAL, Reason, State
from testbed.engines import DOCKER
from testbed.system import wait_for

pytestmark = [pytest.mark.swarm, pytest.mark.xdist_group("swarm-nodes"), pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("DOCKER_HOME", "/var/lib/pman-docker"))
VICTIM = "w1"
COUNT = 'echo "$(hostname) $(date +%T)" >> "$outgoing/runs"; echo last words; '
GRACE_S = 4.0


class Swarm:
    """The testbed's swarm, its victim, and jobs that run there."""

    def __init__(self, folder: Path) -> None:
        self.client = docker.APIClient(DOCKER, version="auto", timeout=30)
        self.folder = folder
        self.instance = f"n{secrets.token_hex(6)}"
        self.backends: list[SwarmBackend] = []

    def backend(self, **own: Any) -> SwarmBackend:
        """Open one more worker's backend."""
        common = Settings(container_env="swarm", storebase=self.folder, pman_instance=self.instance, docker_host=DOCKER)
        values = {"swarm_constraints": f"node.hostname=={VICTIM}", "node_lost_grace_s": GRACE_S, "swarm_reserve": False}
        backend = SwarmBackend(common, SwarmSettings(**(values | own)))
        backend.open()
        self.backends.append(backend)
        return backend

    def spec(self, script: str, jid: str = "job", **fields: Any) -> JobSpec:
        (self.folder / jid).mkdir(exist_ok=True)
        (self.folder / jid).chmod(0o777)
        values: dict[str, Any] = {
            "jid": jid, "auid": "nodes", "number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 128, "gpu_limit": 0,
            "image": "busybox:test", "type": "fs", "entrypoint": ["sh", "-c", f"outgoing=$0; {script}"], "args": [],
            "env": [], "input_dir": "in", "output_dir": jid,
        }  # fmt: skip
        return JobSpec(mint_generation(), self.instance, JobRequest(**(values | fields)))

    def runs(self, jid: str = "job") -> int:
        counted = self.folder / jid / "runs"
        return len(counted.read_text().splitlines()) if counted.exists() else 0

    # The victim

    def up(self) -> None:
        """Bring the victim back, whatever has happened to it."""
        self.link("up")
        env = os.environ | {"DOCKER_SWARM_NODES": "2"}
        subprocess.run([ROOT / "testbed/docker/up.sh"], check=True, env=env, capture_output=True)
        wait_for("the node is ready", lambda: self.node_is("ready"), 60)
        self.set_availability("active")

    def kill(self) -> None:
        os.kill(int((HOME / f"run/{VICTIM}-dockerd.pid").read_text()), signal.SIGKILL)
        wait_for("the manager misses the node", lambda: self.node_is("down"), 60)

    def cut_off(self) -> None:
        self.link("down")
        wait_for("the manager misses the node", lambda: self.node_is("down"), 60)

    def link(self, state: str) -> None:
        subprocess.run(["ip", "link", "set", f"pman{VICTIM}", state], check=True)

    def node(self) -> dict[str, Any]:
        found = [node for node in self.client.nodes() if node["Description"].get("Hostname") == VICTIM]
        return dict(max(found, key=lambda node: node["CreatedAt"]))

    def node_is(self, state: str) -> bool:
        return bool(self.node()["Status"]["State"] == state)

    def set_availability(self, availability: str) -> None:
        node = self.node()
        self.client.update_node(node["ID"], node["Version"]["Index"], node["Spec"] | {"Availability": availability})

    def remove_node(self) -> None:
        self.client.remove_node(self.node()["ID"], force=True)

    def close(self) -> None:
        for service in self.client.services(filters={"label": f"org.chrisproject.pman.instance={self.instance}"}):
            with contextlib.suppress(docker.errors.APIError):
                self.client.remove_service(service["ID"])
        for backend in self.backends:
            backend.close()
        self.client.close()


@pytest.fixture
def swarm(request: pytest.FixtureRequest) -> Iterator[Swarm]:
    if not (HOME / VICTIM / "docker.sock").exists() or os.geteuid() != 0:
        required = "swarm" in request.config.getoption("--require")
        lack = "no swarm with workers: as root, DOCKER_SWARM_NODES=2 testbed/docker/up.sh"
        (pytest.fail if required else pytest.skip)(lack)
    with TemporaryDirectory(prefix="pman-nodes-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        opened = Swarm(Path(name))
        opened.up()
        try:
            yield opened
        finally:
            opened.up()
            opened.close()


def look(backend: SwarmBackend, spec: JobSpec) -> Sighting:
    return backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]


def seen(backend: SwarmBackend, spec: JobSpec, is_it: Callable[[Observed], bool], timeout_s: float = 60) -> Observed:
    def asked() -> Observed | None:
        found = look(backend, spec)
        return found if isinstance(found, Observed) and is_it(found) else None

    return wait_for(f"{spec.jid} as wanted, instead of {look(backend, spec)}", asked, timeout_s)


def ended(backend: SwarmBackend, spec: JobSpec) -> Observed:
    return seen(backend, spec, lambda found: found.state in TERMINAL)


def running(swarm: Swarm, backend: SwarmBackend, script: str = f"{COUNT} sleep 1000", **fields: Any) -> JobSpec:
    spec = swarm.spec(script, **fields)
    backend.submit(spec)
    seen(backend, spec, lambda found: found.state is State.RUNNING)
    wait_for("it has begun", lambda: swarm.runs(spec.jid) > 0)
    return spec


def test_a_drained_node_fails_the_job_and_nobody_starts_it_again(swarm: Swarm) -> None:
    backend = swarm.backend(swarm_constraints="node.role==worker")
    spec = running(swarm, backend)
    task = swarm.client.tasks(filters={"label": f"org.chrisproject.pman.generation={spec.generation}"})[0]
    node = swarm.client.inspect_node(task["NodeID"])
    swarm.client.update_node(node["ID"], node["Version"]["Index"], node["Spec"] | {"Availability": "drain"})
    try:
        found = ended(backend, spec)
        assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
        assert "drained" in found.message
        time.sleep(3)
        assert look(swarm.backend(), spec) == found
        assert swarm.runs() == 1
        assert backend.logs(JobRef(spec.jid, spec.generation), 10, 1000) == "last words\n"
    finally:
        node = swarm.client.inspect_node(task["NodeID"])
        swarm.client.update_node(node["ID"], node["Version"]["Index"], node["Spec"] | {"Availability": "active"})


def test_a_killed_node_is_told_at_once_and_given_up_after_its_grace(swarm: Swarm) -> None:
    backend = swarm.backend(node_lost_grace_s=10)
    spec = running(swarm, backend)
    swarm.kill()
    told = look(backend, spec)
    assert isinstance(told, Observed)
    assert told.state is State.RUNNING
    assert f"node {VICTIM} does not answer" in told.message
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert f"node {VICTIM} does not answer" in found.message
    assert look(swarm.backend(), spec) == found, "another worker tells another story"
    with pytest.raises(Unavailable):
        backend.logs(JobRef(spec.jid, spec.generation), 10, 1000)
    swarm.up()
    time.sleep(5)
    assert look(backend, spec) == look(swarm.backend(), spec) == found, "the node is back and tells another story"
    assert swarm.runs() == 1


def test_a_node_that_comes_back_within_its_grace_has_killed_the_job(swarm: Swarm) -> None:
    backend = swarm.backend(node_lost_grace_s=1000)
    spec = running(swarm, backend)
    swarm.kill()
    seen(backend, spec, lambda found: "does not answer" in found.message)
    swarm.up()
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert look(swarm.backend(), spec) == found
    assert swarm.runs() == 1


def test_what_ended_behind_a_cut_network_is_told_when_it_is_back(swarm: Swarm) -> None:
    backend = swarm.backend(node_lost_grace_s=1000)
    spec = running(swarm, backend, f"{COUNT} sleep 8; exit 4")
    swarm.cut_off()
    seen(backend, spec, lambda found: "does not answer" in found.message)
    swarm.link("up")
    found = ended(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 4)
    assert swarm.runs() == 1


def test_a_cut_network_beyond_the_grace_is_a_failure_for_good(swarm: Swarm) -> None:
    backend = swarm.backend()
    spec = running(swarm, backend, f"{COUNT} sleep 8; exit 0")
    swarm.cut_off()
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    swarm.link("up")
    wait_for("the node is ready", lambda: swarm.node_is("ready"), 60)
    time.sleep(3)
    assert look(backend, spec) == found
    assert swarm.runs() == 1


def test_a_removed_node_fails_the_job(swarm: Swarm) -> None:
    backend = swarm.backend(node_lost_grace_s=1000)
    spec = running(swarm, backend)
    swarm.kill()
    swarm.remove_node()
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "removed from the swarm" in found.message
    swarm.up()
    time.sleep(3)
    assert look(backend, spec) == found
    assert swarm.runs() == 1


def test_a_job_that_is_ended_while_its_node_is_away_is_cancelled(swarm: Swarm) -> None:
    backend = swarm.backend()
    spec = running(swarm, backend)
    swarm.kill()
    backend.end(spec.jid, spec.generation)
    found = ended(backend, spec)
    assert (found.state, found.reason) == (State.CANCELLED, Reason.CANCELLED)
    swarm.up()
    time.sleep(3)
    assert look(swarm.backend(), spec) == found
    assert swarm.runs() == 1


def test_a_removed_job_is_gone_only_when_its_node_is_back_or_given_up(swarm: Swarm) -> None:
    patient, brief = swarm.backend(node_lost_grace_s=1000), swarm.backend(node_lost_grace_s=1)
    spec = running(swarm, patient)
    swarm.kill()
    assert patient.remove(spec.jid, spec.generation) is False
    assert isinstance(look(patient, spec), Unknown)
    wait_for("its node is given up", lambda: look(brief, spec) == Absent())
    swarm.up()
    wait_for("its container is gone", lambda: look(patient, spec) == Absent(), 60)
    assert swarm.runs() == 1


def test_one_lost_replica_fails_the_job_when_the_others_have_ended(swarm: Swarm) -> None:
    backend = swarm.backend(swarm_constraints="node.role==worker")
    spec = running(swarm, backend, f"{COUNT} until [ -e $outgoing/done ]; do sleep 0.2; done", number_of_workers=2)
    wait_for("both run", lambda: swarm.runs() == 2)
    swarm.kill()
    time.sleep(GRACE_S + 2)
    found = look(backend, spec)
    assert isinstance(found, Observed)
    assert found.state is State.RUNNING
    assert f"node {VICTIM} does not answer" in found.message
    assert "(its log cannot be read" in (log := backend.logs(JobRef(spec.jid, spec.generation), 100, 10_000))
    assert "last words" in log
    (swarm.folder / "job" / "done").touch()
    end = ended(backend, spec)
    assert (end.state, end.reason) == (State.FAILED, Reason.NODE_FAIL)
    swarm.up()
    time.sleep(3)
    assert look(swarm.backend(), spec) == end
    assert swarm.runs() == 2, (swarm.folder / "job" / "runs").read_text()
