"""Missing images, with real processes: one pull for all who wait, whoever dies meanwhile."""

import signal
from collections.abc import Callable

import pytest
import requests

from backends._mock_folder import Folder
from backends._mock_images import Image, Images
from pman_core.states import State
from testbed.system import System, wait_for
from tests.e2e.jobs import get, post, wait_end

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

IMAGE = "registry.example.org:5000/team/big:1"
LASTING = Image(pull_for_s=1000)
"""Its pull goes on until another script is put: no machine is too slow to do meanwhile what a test does meanwhile."""
JOBS = [f"job-{number}" for number in range(20)]
Start = Callable[..., System]


def bring_up(start: Start, image: Image) -> tuple[System, Images]:
    system = start(backend="mock", env={"RECONCILE_S": "1", "REQUEUE_S": "1"})
    images = Images(Folder(system.folder / "mock"))
    images.put(IMAGE, image)
    system.start_redis()
    system.start_api()
    for name in ("worker-1", "worker-2"):
        system.start_worker(name)
    for name in ("pull-1", "pull-2"):
        system.start_pull_worker(name)
    system.start_observer()
    system.wait_ready()
    return system, images


def post_job(system: System, jid: str) -> None:
    post(system, jid, image=IMAGE, entrypoint=["anything"])


def runs(system: System) -> dict[str, int]:
    """Count the executions of each jid, as the scheduler has seen them."""
    return {jid: count for (jid, _), count in Folder(system.folder / "mock").runs().items()}


def puller(system: System) -> str:
    """Return the worker that pulls."""
    return wait_for("a worker pulls", lambda: next((n for n in ("pull-1", "pull-2") if is_pulling(system, n)), None))


def is_pulling(system: System, name: str) -> bool:
    return f"pulling: image={IMAGE}" in system.output(name)


def waits(system: System, jid: str) -> bool:
    """Whether nobody submits the job now, or may before its image comes."""
    store = system.connect_store()
    record = store.get(jid)
    return record is not None and record.state is State.QUEUED and record.next_attempt_at_ms > store.now_ms()


def wait_told(system: System, jid: str) -> None:
    wait_for(f"{jid} tells how far it is", lambda: "%" in get(system, jid)["message"])


def test_twenty_jobs_wait_for_one_pull_and_run_once_each(start: Start) -> None:
    system, images = bring_up(start, LASTING)
    for jid in JOBS:
        post_job(system, jid)
    for jid in JOBS:
        wait_told(system, jid)
    assert get(system, JOBS[0])["status"] == "notstarted"
    images.put(IMAGE, Image())
    for jid in JOBS:
        assert wait_end(system, jid)["status"] == "finishedSuccessfully"
    assert images.pulls(IMAGE) == 1
    assert runs(system) == dict.fromkeys(JOBS, 1)


def test_a_puller_that_is_killed_is_followed_by_the_other(start: Start) -> None:
    system, images = bring_up(start, LASTING)
    for jid in JOBS[:3]:
        post_job(system, jid)
    for jid in JOBS[:3]:
        wait_told(system, jid)
    system.kill(puller(system))
    wait_for("the other pulls", lambda: images.pulls(IMAGE) == 2, 150)
    # Who missed the image before it came, and says so after that, would have it pulled once more.
    wait_for("all wait for it", lambda: all(waits(system, jid) for jid in JOBS[:3]))
    images.put(IMAGE, Image())
    for jid in JOBS[:3]:
        assert wait_end(system, jid)["status"] == "finishedSuccessfully"
    assert images.pulls(IMAGE) == 2
    assert runs(system) == dict.fromkeys(JOBS[:3], 1)


def test_a_puller_that_is_told_to_end_leaves_it_to_the_other_at_once(start: Start) -> None:
    system, images = bring_up(start, LASTING)
    post_job(system, "job")
    wait_told(system, "job")
    name = puller(system)
    (other,) = {"pull-1", "pull-2"} - {name}
    system.processes[name].send_signal(signal.SIGTERM)
    assert system.processes[name].wait(60) == 0
    # Who is told to end may take one more message before it does: to give that up, too, or to its grave, and then
    # the job asks again after a minute.
    wait_for("the other pulls", lambda: is_pulling(system, other), 150)
    images.put(IMAGE, Image())
    assert wait_end(system, "job")["status"] == "finishedSuccessfully"
    assert runs(system) == {"job": 1}


def test_a_job_deleted_during_the_pull_never_runs_and_nobody_pulls_for_it(start: Start) -> None:
    system, images = bring_up(start, LASTING)
    post_job(system, "job")
    wait_told(system, "job")
    name = puller(system)
    assert requests.delete(f"{system.url}/api/v1/job/", timeout=30).status_code == 204
    wait_for("the pull is given up", lambda: "pull given up" in system.output(name))
    images.put(IMAGE, Image())
    post_job(system, "another")
    assert wait_end(system, "another")["status"] == "finishedSuccessfully"
    assert runs(system) == {"another": 1}


def test_a_refusal_of_the_registry_fails_the_job_with_its_words(start: Start) -> None:
    system, images = bring_up(start, Image(pull_for_s=1, rejected="manifest unknown"))
    post_job(system, "job")
    record = wait_end(system, "job")
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL")
    assert "manifest unknown" in record["message"]
    assert (images.pulls(IMAGE), runs(system)) == (1, {})
