"""The short night of CI: a hundred jobs, ten faults, another seed each time; the long one is ``make chaos``."""

import os
import shutil
from random import SystemRandom

import pytest
from rich.console import Console

from testbed.remains import keep, make_folder
from tests.faults.chaos import RATES, Order, run
from tests.faults.report import show
from tests.faults.timeline import timeline

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("process", marks=pytest.mark.e2e),
        pytest.param("mock", marks=pytest.mark.e2e),
        pytest.param("cromwell", marks=pytest.mark.e2e),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.e2e]),
    ],
)
def test_a_hundred_jobs_under_ten_faults(backend: str) -> None:
    if backend == "docker" and os.geteuid() != 0:
        pytest.skip("a private engine needs root")
    order = Order(backend, jobs=100, faults=10, rate=RATES[backend], seed=str(SystemRandom().randrange(10**6)))
    # A short path, for the socket of the engine; pytest's own folders are removed too late for what is mounted here.
    folder = make_folder("pman-chaos-")
    folder.chmod(0o755)
    console = Console(width=120)
    try:
        night, findings = run(order, folder / "night", console)
    finally:
        keep(folder)
    show(console, night, findings)
    for finding in findings[:3]:
        console.print("\n".join(timeline(finding.jid, night.evidence, folder / "night")), markup=False)
    assert not findings, f"SEED={order.seed}, everything is in {folder}"
    assert not night.broken
    # Nothing was found; was anything there to be found?
    accepted = {call.jid for call in night.evidence.calls if call.code == 201}
    assert len(accepted) == sum(night.lives.values()) == order.jobs
    assert sum(bool(traces.begins) for traces in night.evidence.traces.values()) > order.jobs / 2
    assert len(night.evidence.faults) == order.faults
    shutil.rmtree(folder)
