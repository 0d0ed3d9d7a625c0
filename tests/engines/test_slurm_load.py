"""Two hundred jobs of eight clients that poll all the time: what they are told, when, and what it costs Slurm.

It runs alone: figures that are taken beside other tests tell of these.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from testbed.system import System
from tests.engines.jobs import delete
from tests.engines.load import told_of_jobs
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

JOBS, CLIENTS = 200, 8
POLL_S = 0.5
SEEN_P95_S_MAX = 2.5


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    with TemporaryDirectory(prefix="pman-slurm-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def calls(folder: Path) -> Calls:
    return Calls(folder / "bin")


@pytest.fixture
def pman(folder: Path, calls: Calls) -> Iterator[System]:
    instance = f"load-{folder.name[-6:].lower().replace('_', 'x')}"
    system = start_slurm_system(folder, instance, SLURM_PATH=f"{calls.folder}:/usr/bin:/bin", SLURM_POLL_S=str(POLL_S))
    yield system
    end_slurm_system(system)


def test_two_hundred_jobs_of_eight_clients_are_true_in_time_and_cheap(
    pman: System, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    began_s = time.time()
    to_wall_s = began_s - time.monotonic()
    told_s = told_of_jobs(pman, JOBS, CLIENTS, 200)
    lasted_s = time.time() - began_s
    asked = count(calls.since(began_s))
    assert asked["sbatch"] == JOBS == len(native_ids(pman)), "one job of Slurm each"
    late_s = sorted(
        told_s[jid] + to_wall_s - (pman.store_base / jid / "out" / "ends").stat().st_mtime for jid in told_s
    )
    p50_s, p95_s = late_s[JOBS // 2], late_s[int(0.95 * JOBS)]
    with capsys.disabled():
        print(  # noqa: T201 - the figures that this test is for
            f"\n{JOBS} jobs, {CLIENTS} clients, {lasted_s:.0f} s: {dict(asked)}; from the end of a program to GET"
            f" p50 {p50_s * 1000:.0f} ms, p95 {p95_s * 1000:.0f} ms"
        )
    # One process asks for all; a submitter asks once more only if its first try was cut off.
    assert asked["squeue"] <= lasted_s / POLL_S + 2, asked
    assert p95_s <= SEEN_P95_S_MAX
    for jid in told_s:
        delete(pman, jid)
    wait_nothing_left(pman, 120)
