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

GONE_S = 10.0
"""Longer than a process takes to go that was killed."""


class OfProcess(Fault):
    backends = frozenset({"process"})
    targets = ("control-folder",)


class ReadOnly(OfProcess):
    """A read-only mount over the control folder. What is open already can still be written."""

    name = "store-read-only"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        # It is read-only before it is there: else whoever opens a file in between, to write, would keep it writable.
        folder, aside = _control(stage), stage.folder / "read-only"
        aside.mkdir(exist_ok=True)
        _mount("--bind", "--make-private", folder, aside)
        _mount("-o", "remount,bind,ro", aside)
        _mount("--bind", aside, folder)
        subprocess.run(["umount", "--lazy", aside], check=True)
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
        hit = {}
        for process, generation in rng.sample(living, min(2, len(living))):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                hit[generation] = process
        # Its job has the same signal when it is gone: what the job writes later it writes although it was killed.
        psutil.wait_procs(hit.values(), timeout=GONE_S)
        return frozenset(hit)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _control(stage: Stage) -> Path:
    return stage.system.store_base / ".pman" / INSTANCE


def _ballast(stage: Stage) -> Path:
    return stage.system.store_base / ".pman" / "ballast"


IS_ROOT = os.geteuid() == 0
STORE: Sequence[Fault] = (*((ReadOnly(), Full()) if IS_ROOT else ()), SupervisorKill())
