"""Two hundred jobs at once: what eight clients that poll all the time are told, when, and what it costs Slurm.

It runs alone: figures that are taken beside other tests tell of these, and for the jobs that wait no node takes any.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, delete, get, post, traced
from tests.engines.load import told_of_jobs
from tests.engines.slurm import native_states, need_slurm, shared_folder, slurm
from tests.engines.slurm_system import POLL_S, Calls, count, put_off, slurm_system, wait_nothing_left

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.exclusive, pytest.mark.timeout(1200)]

JOBS, CLIENTS = 200, 8
LISTINGS = 8
SEEN_P95_LISTINGS_MAX = 5
"""Not seconds: a machine that has other work lists more slowly, too."""


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    with shared_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def calls(folder: Path) -> Calls:
    return Calls(folder / "bin")


@pytest.fixture(scope="module")
def pman(folder: Path, calls: Calls) -> Iterator[System]:
    with slurm_system(folder, "load", SLURM_PATH=calls.path) as system:
        yield system


@pytest.fixture
def drained(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every node is drained: Slurm takes jobs and begins none."""
    need_slurm(request, faults=True)
    nodes = slurm("sinfo", "--noheader", "--format=%N").strip()
    slurm("scontrol", "update", f"NodeName={nodes}", "State=DRAIN", "Reason=test")
    try:
        yield
    finally:
        slurm("scontrol", "update", f"NodeName={nodes}", "State=RESUME")


def orders(system: System) -> int:
    """Return how many orders Slurm has given a number, as pman has noted it."""
    control = system.store_base / ".pman" / system.env["PMAN_INSTANCE"] / "slurm"
    return len(list(control.glob("*/native/*")))


def test_two_hundred_jobs_of_eight_clients_are_true_in_time_and_cheap(
    pman: System, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    began_s = time.time()
    to_wall_s = began_s - time.monotonic()
    told_s = {jid: at_s + to_wall_s for jid, at_s in told_of_jobs(pman, JOBS, CLIENTS, PATIENCE_S).items()}
    lasted_s, made = time.time() - began_s, calls.since(began_s)
    asked = count(made)
    assert orders(pman) == JOBS, "one job of Slurm each"  # which remembers those that ended for five minutes only
    assert JOBS <= asked["sbatch"] <= JOBS + put_off(pman)
    ended_s = {jid: (pman.store_base / jid / "out" / "ends").stat().st_mtime for jid in told_s}
    late_s = sorted(told_s[jid] - ended_s[jid] for jid in told_s)
    listed_s = [at_s for at_s, what in made if what.startswith("squeue")]
    listings = sorted(sum(ended_s[jid] < at_s < told_s[jid] for at_s in listed_s) for jid in told_s)
    middle, most = JOBS // 2, int(0.95 * JOBS)
    with capsys.disabled():
        print(  # noqa: T201 - the figures that this test is for
            f"\n{JOBS} jobs, {CLIENTS} clients, {lasted_s:.0f} s: {dict(asked)}; from the end of a program to GET"
            f" p50 {late_s[middle] * 1000:.0f} ms, p95 {late_s[most] * 1000:.0f} ms, in {listings[most]} listings"
        )
    # One process asks for all; a submitter asks once more only if its first try was cut off.
    assert asked["squeue"] <= lasted_s / POLL_S + 2 + put_off(pman), asked
    assert listings[most] <= SEEN_P95_LISTINGS_MAX
    for jid in told_s:
        delete(pman, jid)
    wait_nothing_left(pman)


def test_two_hundred_jobs_that_wait_cost_no_more_listings_than_one(pman: System, calls: Calls, drained: None) -> None:
    began_s, jids = time.time(), [f"waits-{number}" for number in range(JOBS)]
    for jid in jids:
        post(pman, traced(jid, memory_limit="100"))

    def waiting() -> int:
        return list(native_states(pman).values()).count("PENDING")

    wait_for("all are in Slurm's queue", lambda: waiting() >= JOBS, PATIENCE_S)
    quiet_s = time.time()

    def listings() -> int:
        return count(calls.since(quiet_s))["squeue"]

    wait_for(f"{LISTINGS} more listings", lambda: listings() >= LISTINGS, PATIENCE_S)
    asked, seconds = listings(), time.time() - quiet_s
    # One process asks for all: the observer, once in a period.
    assert asked <= seconds / POLL_S + 1, f"{asked} listings in {seconds:.1f} s"
    assert {get(pman, jid)["status"] for jid in jids} == {"notstarted"}
    assert JOBS <= count(calls.since(began_s))["sbatch"] <= JOBS + put_off(pman)
    for jid in jids:
        delete(pman, jid)
    wait_nothing_left(pman)
