"""Everything together on Podman, and what it tells differently from Docker."""

from collections.abc import Callable

import pytest
import requests

from backends.podman import PodmanBackend, PodmanSettings
from pman_core.errors import Rejected
from pman_core.settings import load_settings
from testbed.engine_proxy import EngineProxy
from testbed.system import System, wait_for
from tests.engines.jobs import (
    PATIENCE_S,
    REPLY_S,
    body,
    connect,
    containers,
    delete,
    get,
    post,
    running,
    traced,
    traces,
    wait_end,
)

pytestmark = [pytest.mark.podman, pytest.mark.timeout(600)]
Start = Callable[..., System]
HUNGRY = "exec dd if=/dev/zero of=/dev/null bs=300M count=1"


def test_podman_behind_the_name_of_docker_is_found_out_and_spoken_to_in_its_way(start: Start, podman_url: str) -> None:
    system = start(podman_url, "docker")
    assert requests.get(f"{system.url}/api/v1/", timeout=REPLY_S).json()["container_env"] == "podman"
    post(system, traced("good"))
    post(system, body("hungry", HUNGRY, memory_limit=50))
    assert wait_end(system, "good")["status"] == "finishedSuccessfully"
    assert wait_end(system, "hungry")["reason"] == "OOM_KILLED"
    told = [line for line in system.output("worker").splitlines() if "there is podman" in line]
    assert len(told) == 1, "one clear line in the log"
    for jid in ("good", "hungry"):
        delete(system, jid)
    wait_for("nothing is left behind", lambda: not containers(podman_url, system), PATIENCE_S)


def test_jobs_on_podman_are_true_and_leave_nothing(
    start: Start, podman_url: str, proxied: Callable[[str], EngineProxy]
) -> None:
    system = start(proxied(podman_url).url, "podman")
    jids = [f"job-{number}" for number in range(10)]
    for number, jid in enumerate(jids):
        post(system, traced(jid, f"sleep 0.{number}", number % 3))
    for number, jid in enumerate(jids):
        record = wait_end(system, jid, 120)
        assert (record["exit_code"], record["logs"]) == (number % 3, "working\n"), record
    assert [(traces(system, jid), traces(system, jid, "ends")) for jid in jids] == [(1, 1)] * len(jids)
    for jid in jids:
        delete(system, jid)
    wait_for("nothing is left behind", lambda: not containers(podman_url, system), PATIENCE_S)


def test_who_was_killed_through_podman_is_not_said_to_want_memory(start: Start, podman_url: str) -> None:
    system = start(podman_url, "podman")
    running(system, "job")
    client = connect(podman_url)
    client.kill(containers(podman_url, system)[0]["Id"])
    client.close()
    record = wait_end(system, "job")
    assert (record["status"], record["exit_code"], record["reason"]) == ("finishedWithError", 137, "SIGNALLED")
    assert get(system, "job")["message"] == "ended by signal 9 (SIGKILL)"


@pytest.mark.docker
def test_docker_behind_the_name_of_podman_is_refused(docker_url: str) -> None:
    backend = PodmanBackend(
        load_settings(container_env="podman", storebase="/tmp"), PodmanSettings(container_host=docker_url)
    )
    with pytest.raises(Rejected, match=r"CONTAINER_ENV=podman, but at .* there is docker"):
        backend.open()
    backend.close()
