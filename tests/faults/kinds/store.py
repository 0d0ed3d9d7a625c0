"""The process backend: its control folder cannot be written, or somebody kills what stays with a job. Needs root."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.stage import INSTANCE, Stage
from tests.faults.worlds import ProcessWorld


class OfProcess(Fault):
    backends = frozenset({"process"})
    targets = ("control-folder",)


class ReadOnly(OfProcess):
    """A read-only mount over the control folder. What is open already can still be written."""

    name = "store-read-only"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        folder = _control(stage)
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        subprocess.run(["umount", "--lazy", _control(stage)], check=True)


class Full(OfProcess):
    name = "store-full"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        with suppress(OSError), _ballast(stage).open("wb", buffering=0) as ballast:
            while ballast.write(bytes(65536)):
                pass
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        _ballast(stage).unlink()


class SupervisorKill(OfProcess):
    """``kill -9`` of what stays with a job. The documented end is FAILED with NODE_FAIL, and nothing else."""

    name = "supervisor-kill"
    targets = ("supervisors",)
    lasts_s = (0.0, 0.0)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        assert isinstance(stage.world, ProcessWorld)
        living = list(stage.world.supervisors())
        hit = set()
        for process, generation in rng.sample(living, min(2, len(living))):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                hit.add(generation)
        return frozenset(hit)


def _control(stage: Stage) -> Path:
    return stage.system.store_base / ".pman" / INSTANCE


def _ballast(stage: Stage) -> Path:
    return stage.system.store_base / ".pman" / "ballast"


IS_ROOT = os.geteuid() == 0
STORE: Sequence[Fault] = (*((ReadOnly(), Full()) if IS_ROOT else ()), SupervisorKill())
