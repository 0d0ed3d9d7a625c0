"""All of pman on a real Slurm with Apptainer, spoken to over HTTP as pfcon does."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import requests
from redis import Redis

from testbed.system import System, wait_for
from tests.contract.corpus import ARGUMENTS, ENVIRONMENT
from tests.engines.jobs import PATIENCE_S, REPLY_S, body, delete, get, post, traced, traces, wait_end, wait_status
from tests.engines.slurm import need_slurm, shared_folder, slurm
from tests.engines.slurm_system import slurm_system, wait_nothing_left

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(600), pytest.mark.xdist_group("slurm-system")]

SHOW = 'for out; do :; done; cat "/proc/$$/cmdline" > "$out/argv"; cat "/proc/$$/environ" > "$out/env"; echo done'


@pytest.fixture(scope="module")
def pman(request: pytest.FixtureRequest) -> Iterator[System]:
    need_slurm(request)
    limits = {"TIMELIMIT_MINUTES": "10", "TIMELIMIT_MAX_MINUTES": "60"}
    with shared_folder() as folder, slurm_system(folder, "system", LIVE_LOGS_S="1", **limits) as system:
        yield system


def test_hostile_arguments_reach_a_container_from_an_archive_verbatim(pman: System) -> None:
    env = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    post(pman, body("hostile", SHOW, args=list(ARGUMENTS), env=env))
    record = wait_end(pman, "hostile")
    assert (record["status"], record["exit_code"], record["logs"]) == ("finishedSuccessfully", 0, "done\n"), f"{record}"
    out = pman.store_base / "hostile/out"
    argv = (out / "argv").read_bytes().decode().split("\0")[:-1]
    assert tuple(argv[4:-1]) == ARGUMENTS
    seen = dict(item.split("=", 1) for item in (out / "env").read_bytes().decode().split("\0")[:-1])
    assert {name: seen.get(name) for name in ENVIRONMENT} == ENVIRONMENT


def test_an_exit_code_and_a_live_log_are_told(pman: System) -> None:
    post(pman, traced("failing", 'while [ ! -e "$1/go" ]; do sleep 0.1; done', 7))
    wait_status(pman, "failing", "started")
    wait_for("the log of a running job", lambda: "working" in get(pman, "failing")["logs"], PATIENCE_S)
    (pman.store_base / "failing/out/go").touch()
    record = wait_end(pman, "failing")
    assert (record["status"], record["exit_code"], record["reason"]) == ("finishedWithError", 7, "NONZERO_EXIT"), (
        f"{record}"
    )
    assert traces(pman, "failing") == traces(pman, "failing", "ends") == 1


def test_an_image_that_cannot_be_had_says_so_in_the_message(pman: System) -> None:
    post(pman, body("imageless", "true", image="127.0.0.1:1/nobody/has:it"))
    record = wait_end(pman, "imageless")
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL"), f"{record}"
    assert "docker://127.0.0.1:1/nobody/has:it" in record["message"]
    assert "refused" in record["message"], "and why, in the runtime's own words"


def test_a_delete_ends_the_job_and_leaves_nothing(pman: System) -> None:
    post(pman, traced("endless", "sleep 600"))
    wait_status(pman, "endless", "started")
    delete(pman, "endless")
    delete(pman, "endless")
    wait_nothing_left(pman)
    assert requests.get(f"{pman.url}/api/v1/endless/", timeout=REPLY_S).status_code == 404


def test_more_time_than_the_site_gives_is_refused_by_name(pman: System) -> None:
    reply = requests.post(f"{pman.url}/api/v1/", json=body("patient", "true", time_limit=61), timeout=REPLY_S)
    assert reply.status_code == 400
    assert "time_limit: must be at most 60 minutes" in reply.text


@pytest.mark.parametrize(("asked", "given"), [({}, "10:00"), ({"time_limit": 2}, "2:00")])
def test_slurm_is_asked_for_the_time_of_the_job(pman: System, asked: dict[str, int], given: str) -> None:
    jid = f"timed-{asked.get('time_limit', 'default')}"
    post(pman, traced(jid, "sleep 600", **asked))
    wait_status(pman, jid, "started")
    limits = dict(line.split("|") for line in slurm("squeue", "-h", "-o", "%j|%l").splitlines())
    assert [limit for name, limit in limits.items() if name.startswith(f"pman-{jid}-")] == [given]
    delete(pman, jid)
    wait_nothing_left(pman)  # a wipe of Redis would have this DELETE forgotten, too


def test_after_a_wipe_of_redis_the_jobs_of_slurm_come_back(pman: System) -> None:
    post(pman, traced("lasting", 'while [ ! -e "$1/go" ]; do sleep 0.1; done', 5))
    wait_status(pman, "lasting", "started")
    with closing(Redis.from_url(pman.redis_url)) as client:
        client.flushall()
    wait_for(
        "the job is there again",
        lambda: requests.get(f"{pman.url}/api/v1/lasting/", timeout=REPLY_S).status_code == 200,
        PATIENCE_S,
    )
    (pman.store_base / "lasting/out/go").touch()
    record = wait_end(pman, "lasting")
    assert (record["status"], record["exit_code"]) == ("finishedWithError", 5), f"{record}"
    assert traces(pman, "lasting") == 1
