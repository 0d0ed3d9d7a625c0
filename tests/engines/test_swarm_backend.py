"""What only a swarm has: replicas, templates, a size of /dev/shm by a mount, and what a look at all of it costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError

from backends._engine.client import Client, SilentUnavailable
from backends._engine.labels import GENERATION, SPEC
from backends.swarm import SwarmBackend, SwarmSettings
from pman_core.backend import Absent, JobRef, Observed
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.settings import Settings
from pman_core.states import Reason, State
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.patient import PatientSwarm, again
from tests.engines.swarm import Nodes, look, private_swarm, seen

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600), pytest.mark.xdist_group("swarm-backend")]


@pytest.fixture(scope="module")
def swarm() -> Iterator[Nodes]:
    with private_swarm(1) as nodes:
        yield nodes


@pytest.fixture
def nodes(swarm: Nodes) -> Iterator[Nodes]:
    yield swarm
    swarm.clean()


def ref(spec: JobSpec) -> JobRef:
    return JobRef(spec.jid, spec.generation)


def test_all_workers_run_and_each_has_its_log(nodes: Nodes) -> None:
    backend = nodes.backend(swarm_reserve=False)
    spec = nodes.spec('echo "it is me"; echo "and still me" >&2', number_of_workers=3)
    backend.submit(spec)
    found = seen(backend, spec)
    assert (found.state, found.exit_code, found.native_state) == (State.SUCCEEDED, 0, "3 complete")
    assert nodes.runs(spec) == 3
    log = backend.logs(ref(spec), 100, 10_000)
    heads = [f"--- worker {number} of 3 ---" for number in (1, 2, 3)]
    assert [line for line in log.splitlines() if line.startswith("---")] == heads
    assert (log.count("it is me\n"), log.count("and still me\n"), log.count("\r")) == (3, 3, 0)
    short = backend.logs(ref(spec), 100, 150)
    assert len(short.encode()) <= 150
    assert [line for line in short.splitlines() if line.startswith("---")] == heads, "each has its share"


def test_one_worker_that_fails_fails_the_job_when_all_have_ended(nodes: Nodes) -> None:
    backend = nodes.backend(swarm_reserve=False)
    once = 'mkdir "$0/first" 2>/dev/null && exit 9; until [ -e "$0/done" ]; do sleep 0.1; done'
    spec = nodes.spec(once, number_of_workers=3)
    backend.submit(spec)

    def told() -> bool:
        sighting = look(backend, spec)
        assert isinstance(sighting, Observed)
        assert sighting.state in {State.PENDING, State.RUNNING}
        return "of 3: exit code 9" in sighting.message

    wait_for("the message tells of the failure", told, PATIENCE_S)
    (nodes.output(spec) / "done").touch()
    found = seen(backend, spec)
    assert (found.state, found.reason, found.exit_code) == (State.FAILED, Reason.NONZERO_EXIT, 9)
    assert look(nodes.backend(), spec) == found


def test_all_workers_are_ended_at_once(nodes: Nodes) -> None:
    backend = nodes.backend(swarm_reserve=False)
    spec = nodes.spec("sleep 600", number_of_workers=3)
    backend.submit(spec)
    wait_for("all run", lambda: nodes.runs(spec) == 3, PATIENCE_S)
    backend.end_overdue(spec.jid, spec.generation)
    wait_for("no process is left", lambda: not nodes.alive(spec), PATIENCE_S)
    found = seen(backend, spec)
    assert (found.state, found.reason) == (State.FAILED, Reason.TIME_LIMIT)
    assert nodes.runs(spec) == 3
    backend.remove(spec.jid, spec.generation)
    wait_for("it is gone", lambda: look(backend, spec) == Absent(), PATIENCE_S)


def test_more_workers_than_allowed_are_refused(nodes: Nodes) -> None:
    backend = nodes.backend(swarm_workers_max=2)
    with pytest.raises(Rejected, match="number_of_workers: must be at most 2"):
        backend.submit(nodes.spec("true", number_of_workers=3))


def test_shared_memory_has_its_size_and_every_user_may_use_it(nodes: Nodes) -> None:
    script = 'set -e; echo x > /dev/shm/x; df -k /dev/shm | tail -1 > "$0/shm"'
    backend = with_settings(nodes, shm_size=96, container_user="1234:5678")
    spec = nodes.spec(script)
    nodes.output(spec).chmod(0o777)
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED
    assert (nodes.output(spec) / "shm").read_text().split()[1] == str(96 * 1024)


@pytest.mark.parametrize("name", ["{{.Node.ID}}", "a {{ b", "}}{{{"])
def test_a_folder_whose_name_is_a_template_is_that_folder(nodes: Nodes, name: str) -> None:
    backend = nodes.backend()
    spec = nodes.spec('echo here > "$0/here"', output_dir=f"templates/{name}")
    backend.submit(spec)
    assert seen(backend, spec).state is State.SUCCEEDED
    assert (nodes.output(spec) / "here").exists()


def test_service_and_container_carry_the_labels(nodes: Nodes) -> None:
    backend = with_settings(nodes, job_labels="site=a {{.Node.ID}}")
    spec = nodes.spec("sleep 600")
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    service = nodes.api.inspect_service(spec.native_name)["Spec"]["Labels"]
    container = nodes.api.tasks(filters={"label": f"{GENERATION}={spec.generation}"})[0]["Spec"]["ContainerSpec"][
        "Labels"
    ]
    assert service[SPEC] == spec.to_json()
    assert container.items() <= service.items()
    assert container["site"] == "a {{.Node.ID}}"
    assert container["org.chrisproject.miniChRIS"] == "plugininstance"


def test_a_look_at_many_jobs_is_three_calls(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = nodes.backend(swarm_reserve=False)
    specs = [nodes.spec("sleep 600") for _ in range(6)]
    for spec in specs:
        backend.submit(spec)
    for spec in specs:
        seen(backend, spec, State.RUNNING)
    calls: list[str] = []
    request = Client.request

    def counted(self: Client, method: str, url: str, **options: Any) -> requests.Response:
        calls.append(f"{method} {url.rsplit('/', 1)[1]}")
        return request(self, method, url, **options)

    def look_once() -> int:
        calls.clear()
        return len(SwarmBackend.observe(backend, [ref(spec) for spec in specs]))

    monkeypatch.setattr(Client, "request", counted)
    assert again(look_once, SilentUnavailable) == 6
    assert sorted(calls) == ["GET nodes", "GET services", "GET tasks"]


def test_a_killed_job_of_another_node_is_thought_to_be_out_of_memory(nodes: Nodes) -> None:
    """On the node that pman speaks to, its engine knows better."""
    script = "sh -c 'kill -KILL $$'; exit $?"
    away = nodes.run(f"sleep 1; {script}", "w1")
    host = nodes.api.info()["Name"]
    here = nodes.run(f"sleep 1; {script}", host)
    backend = nodes.backend()
    assert seen(backend, away).reason is Reason.OOM_KILLED
    assert "as far as Swarm lets one tell" in seen(backend, away).message
    assert seen(backend, here).reason is Reason.SIGNALLED


def test_an_engine_that_is_no_manager_is_refused_with_what_to_do(nodes: Nodes) -> None:
    url = f"unix://{nodes.swarm.folder}/w1/docker.sock"
    common = Settings(container_env="swarm", storebase=nodes.swarm.folder, docker_host=url)
    with pytest.raises(Rejected, match="docker swarm init"):
        PatientSwarm(common, SwarmSettings()).open()


def test_a_volume_binds_its_jobs_to_its_node(nodes: Nodes) -> None:
    volume = nodes.api.create_volume("pman-test-volume")
    try:
        backend = with_settings(
            nodes, storage_type="docker_local_volume", volume_name="pman-test-volume", storebase=None
        )
        spec = nodes.spec('echo here > "$0/here"')
        outgoing = Path(volume["Mountpoint"]) / spec.request.output_dir
        backend.submit(spec)
        assert seen(backend, spec).state is State.SUCCEEDED
        assert (outgoing / "here").exists()
        constraints = nodes.api.inspect_service(spec.native_name)["Spec"]["TaskTemplate"]["Placement"]["Constraints"]
        assert constraints == [f"node.id=={nodes.api.info()['Swarm']['NodeID']}"]
        backend.remove(spec.jid, spec.generation)
        wait_for("it is gone", lambda: look(backend, spec) == Absent(), PATIENCE_S)
    finally:
        wait_for("the volume is removed", lambda: is_removed(nodes, "pman-test-volume"), PATIENCE_S)


def is_removed(nodes: Nodes, volume: str) -> bool:
    """Remove a volume, unless the engine is still at the removal of a container that has used it."""
    try:
        nodes.api.remove_volume(volume, force=True)
    except APIError as error:
        if "in use" not in str(error):
            raise
        return False
    return True


def with_settings(nodes: Nodes, **settings: Any) -> SwarmBackend:
    """Open a backend with other common settings."""
    plain = nodes.backend()
    values = plain.common.model_dump() | settings
    backend = PatientSwarm(Settings(**values), SwarmSettings())
    backend.open()
    return backend
