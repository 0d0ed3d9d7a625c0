"""All of pman on a real Slurm by its REST service alone, with tokens of some seconds, and a job beyond its limit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import slurm_cluster
from testbed.system import System, wait_for
from tests.contract.corpus import ARGUMENTS
from tests.engines.jobs import PATIENCE_S, body, delete, post, traced, traces, wait_end, wait_status
from tests.engines.slurm import native_ids, need_slurm, shared_folder
from tests.engines.slurm_system import Calls, count, put_off, slurm_system, wait_nothing_left

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(600), pytest.mark.xdist_group("slurm-rest")]

OVERTIME, LASTING = "overtime", ("lasting-0", "lasting-1", "lasting-2")
TOKEN_S = 20


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    if lacking := slurm_cluster.rest_lack():
        required = "slurm" in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lacking)
    with shared_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def calls(folder: Path) -> Calls:
    return Calls(folder / "bin")


@pytest.fixture(scope="module")
def pman(folder: Path, calls: Calls) -> Iterator[System]:
    """All of pman; from the beginning jobs run beyond their first token, and one beyond its time limit."""
    command = folder / "token"
    command.write_text(
        f'#!/bin/bash\necho $EPOCHREALTIME >> "{folder}/made"\nexec /usr/bin/scontrol token lifespan={TOKEN_S}\n'
    )
    command.chmod(0o755)
    rest = {"SLURM_REST_URL": slurm_cluster.rest_url(), "SLURM_REST_TOKEN_COMMAND": str(command)}
    with slurm_system(folder, "rest", SLURM_PATH=calls.path, TIMELIMIT_MAX_MINUTES="10", **rest) as system:
        post(system, traced(OVERTIME, "sleep 600", time_limit=1))
        for code, jid in enumerate(LASTING):
            post(system, traced(jid, f"sleep {TOKEN_S + 5}", code))
        yield system


def test_hostile_arguments_reach_a_container_from_an_archive_verbatim(pman: System) -> None:
    script = 'for last; do :; done; printf "%s\\0" "$@" > "$last/seen"'
    post(pman, body("quotes", script, args=list(ARGUMENTS)))
    record = wait_end(pman, "quotes")
    assert (record["status"], record["exit_code"]) == ("finishedSuccessfully", 0), f"{record}"
    seen = (pman.store_base / "quotes" / "out" / "seen").read_bytes().decode().split("\0")[:-1]
    assert seen == [*ARGUMENTS, "/share/outgoing"]


def test_jobs_outlive_the_tokens_that_they_were_submitted_with(pman: System, folder: Path) -> None:
    for code, jid in enumerate(LASTING):
        record = wait_end(pman, jid)
        assert record["exit_code"] == code, f"{record}"
        assert traces(pman, jid) == 1
        assert 1 <= len(native_ids(pman, jid)) <= 1 + put_off(pman, jid)
    made_s = [float(line) for line in (folder / "made").read_text().split()]
    began_s = (pman.store_base / LASTING[0] / "out" / "runs").stat().st_mtime
    assert max(made_s) > began_s, "it ended with another token than it was submitted with"


def test_a_job_that_is_deleted_while_it_runs_is_gone_and_its_jid_is_free(pman: System) -> None:
    post(pman, traced("same", "sleep 60"))
    wait_status(pman, "same", "started")
    delete(pman, "same")
    post(pman, traced("same", "true", 4))
    assert wait_end(pman, "same")["exit_code"] == 4
    delete(pman, "same")


def test_a_job_that_takes_more_time_than_it_may_is_told_and_nothing_of_any_job_is_left(
    pman: System, folder: Path, calls: Calls
) -> None:
    record = wait_end(pman, OVERTIME, 200)
    assert (record["status"], record["reason"]) == ("finishedWithError", "TIME_LIMIT"), f"{record}"
    assert (traces(pman, OVERTIME), traces(pman, OVERTIME, "ends")) == (1, 0)
    delete(pman, OVERTIME)
    wait_for("no obligation is due", lambda: not pman.connect_store().obligations("slurm", 1), PATIENCE_S)
    wait_nothing_left(pman)
    assert not count(calls.since(0)), "a command of Slurm was run"
    logs = [path.read_text(errors="replace") for path in folder.rglob("*.log")]
    assert logs
    assert not [text for text in logs if "eyJhbGciOiJIUzI1NiI" in text], "a token is in a log"
