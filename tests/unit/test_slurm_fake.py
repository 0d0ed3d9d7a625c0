"""That the fake Slurm makes up what the real one makes up: see ``tests/recorded/slurm``."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends._slurm.commands import CommandTransport
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import NativeJob, SbatchOrder
from testbed.system import wait_for
from tests.fakes.slurm import FakeSlurm

ORDER = SbatchOrder("#!/bin/sh\nexec sleep 60\n", "pman-job", "comment", "/", "")


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[CommandTransport]:
    fake = FakeSlurm(tmp_path / "slurm")
    yield CommandTransport(SlurmSettings(slurm_path=fake.path, slurm_conf=fake.conf))
    fake.close()


def seen(slurm: CommandTransport, *states: str) -> NativeJob:
    def job() -> NativeJob | None:
        (found,) = slurm.jobs()
        return found if found.state in states else None

    return wait_for(f"it is {states}", job)


def test_an_output_that_cannot_be_opened_ends_a_job_with_a_number_of_slurms_own(
    slurm: CommandTransport, tmp_path: Path
) -> None:
    slurm.submit(replace(ORDER, output=str(tmp_path / "nowhere/slurm")))
    job = seen(slurm, "FAILED")
    assert (job.exit_status, job.signal, job.reason) == (0, 53, "JobLaunchFailure")


def test_a_job_that_is_cancelled_at_once_has_a_node_or_else_started_when_it_was_cancelled(
    slurm: CommandTransport, tmp_path: Path
) -> None:
    slurm.cancel([slurm.submit(replace(ORDER, output=str(tmp_path / "out")))])
    job = seen(slurm, "CANCELLED")
    assert job.started_at is not None
    assert job.nodes or (job.started_at, job.signal) == (job.finished_at, 0)
