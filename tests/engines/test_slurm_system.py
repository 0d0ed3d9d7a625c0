"""Everything together on a real Slurm, over HTTP: an image archive, arguments full of quotes, limits, slurmrestd."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from testbed import slurm_cluster
from testbed.system import System, wait_for
from tests.contract.corpus import ARGUMENTS
from tests.engines.jobs import body, delete, post, traced, traces, wait_end, wait_status
from tests.engines.slurm import (
    Calls,
    count,
    end_slurm_system,
    native_ids,
    need_slurm,
    start_slurm_system,
    wait_nothing_left,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(300)]

OVERTIME = "overtime"


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    with TemporaryDirectory(prefix="pman-slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def pman(folder: Path) -> Iterator[System]:
    """All of pman; a job that will exceed its time limit runs from the beginning."""
    system = start_slurm_system(folder, f"system-{folder.name[-6:].lower().replace('_', 'x')}")
    try:
        post(system, traced(OVERTIME, "sleep 600", time_limit=1))
        yield system
    finally:
        end_slurm_system(system)


def test_arguments_full_of_quotes_reach_a_container_from_an_image_archive(pman: System) -> None:
    post(pman, body("quotes", 'printf "%s\\\\0" "$@" > "$(eval echo \\\\${$#})/seen"', args=list(ARGUMENTS)))
    record = wait_end(pman, "quotes")
    assert (record["status"], record["exit_code"]) == ("finishedSuccessfully", 0), f"{record}"
    seen = (pman.store_base / "quotes" / "out" / "seen").read_bytes().decode().split("\0")[:-1]
    assert seen == [*ARGUMENTS, "/share/outgoing"]


def test_a_job_that_is_deleted_while_it_runs_is_gone_and_its_jid_is_free(pman: System) -> None:
    post(pman, traced("same", "sleep 60"))
    wait_status(pman, "same", "started")
    delete(pman, "same")
    post(pman, traced("same", "true", 4))
    assert wait_end(pman, "same")["exit_code"] == 4
    delete(pman, "same")


def test_a_job_that_takes_more_time_than_it_may_is_told(pman: System) -> None:
    record = wait_end(pman, OVERTIME, 200)
    assert (record["status"], record["reason"]) == ("finishedWithError", "TIME_LIMIT"), f"{record}"
    assert (traces(pman, OVERTIME), traces(pman, OVERTIME, "ends")) == (1, 0)


def test_by_slurmrestd_with_a_token_of_a_command_that_is_renewed(folder: Path) -> None:
    if lacking := slurm_cluster.rest_lack():
        pytest.skip(lacking)
    calls = Calls(folder / "rest-bin")
    token = folder / "token"
    token.write_text(f'#!/bin/bash\necho made >> "{folder}/made"\nexec /usr/bin/scontrol token lifespan=20\n')
    token.chmod(0o755)
    system = start_slurm_system(
        folder,
        f"rest-{folder.name[-6:].lower().replace('_', 'x')}",
        SLURM_PATH=f"{calls.folder}:/usr/bin:/bin",
        SLURM_REST_URL=slurm_cluster.rest_url(),
        SLURM_REST_TOKEN_COMMAND=str(token),
    )
    try:
        for number in range(3):
            post(system, traced(f"rest-{number}", "sleep 10", number))
        for number in range(3):
            record = wait_end(system, f"rest-{number}", 90)
            assert record["exit_code"] == number, f"{record}"
        assert len(native_ids(system)) == 3
        wait_for("more than one token was made by each process", lambda: len((folder / "made").read_text().split()) > 3)
        for number in range(3):
            delete(system, f"rest-{number}")
        wait_nothing_left(system)
        assert not count(calls.since(0)), "no command of Slurm was run"
    finally:
        end_slurm_system(system)


def test_what_pman_has_written_names_no_token(folder: Path, pman: System) -> None:
    made = subprocess.run(slurm_cluster.TOKEN_COMMAND, capture_output=True, text=True, check=True).stdout
    assert made.startswith("SLURM_JWT=")
    logs = [path.read_text(errors="replace") for path in folder.rglob("*.log")]
    assert logs
    assert not [text for text in logs if made.strip()[:40].removeprefix("SLURM_JWT=") in text]
