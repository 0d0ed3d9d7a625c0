"""All of pman on a real Slurm, and what it asks of it."""

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.system import System, wait_for
from tests.engines.jobs import PATIENCE_S, traces
from tests.engines.slurm import instance_of, native_ids, native_states, put_archive, slurm

COUNTED = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
ACTIVE = {"RUNNING", "PENDING", "COMPLETING"}
POLL_S = 0.5
SMALL = {"memory_limit": "100"}


class Calls:
    """What pman asks of Slurm: it finds programs that write down each call, and then are the real ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        folder.mkdir()
        for name in COUNTED:
            program = folder / name
            program.write_text(
                f'#!/bin/bash\nprintf \'%s %s\\n\' "$EPOCHREALTIME" "{name} $1" >> {shlex.quote(str(self._log))}\n'
                f'exec /usr/bin/{name} "$@"\n'
            )
            program.chmod(0o755)

    @property
    def path(self) -> str:
        """The SLURM_PATH of who is to be counted."""
        return f"{self._folder}:/usr/bin:/bin"

    def since(self, at_s: float) -> list[tuple[float, str]]:
        """Return when each was, in seconds of the epoch, and the command with its first option."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        calls = ((float(when), what) for when, _, what in (line.partition(" ") for line in lines))
        return [(when, what) for when, what in calls if when >= at_s]


def count(calls: list[tuple[float, str]]) -> Counter[str]:
    return Counter(what.split()[0] for _, what in calls)


@contextmanager
def slurm_system(folder: Path, kind: str, **env: str) -> Iterator[System]:
    """Bring up all of pman, on images that the testbed has made. In the end nothing of it is left in Slurm."""
    name = instance_of(folder, f"{kind}-")
    settings = {
        "PMAN_INSTANCE": name,
        "HPC_IMAGES": str(put_archive(folder)),
        "HPC_IMAGE_CACHE": str(folder / "cache"),
        "SLURM_POLL_S": str(POLL_S),
        "LIVE_LOGS_S": "0",
        "RECONCILE_S": "2",
        "SUBMIT_LEASE_S": "45",  # longer than an order of Slurm may take; after a wipe so much is waited
    }
    system = System(folder / name, "slurm", env=settings | env)
    try:
        system.start_all()
        system.wait_ready()
        yield system
    finally:
        system.close()
        if left := native_ids(system):
            slurm("scancel", *map(str, left), check=False)


def wait_nothing_left(system: System) -> None:
    """Wait until Slurm runs nothing of any job, and pman has nothing to do now: it may look once more later."""
    wait_for("nothing runs any more", lambda: ACTIVE.isdisjoint(native_states(system).values()), PATIENCE_S)
    wait_for("no obligation is due", lambda: not system.connect_store().obligations("slurm", 1), PATIENCE_S)


def only_id(system: System, jid: str) -> int:
    (job_id,) = native_ids(system, jid)
    return job_id


def put_off(system: System, jid: str = "") -> int:
    """Return how often a submit was tried again, of one job or of all.

    An order that takes longer than pman waits may have been lost, or may yet come: then Slurm has two of that job, and
    the launcher lets one of them run.
    """
    return system.output("worker").count(f"submit put off: jid={jid} " if jid else "submit put off: ")


def once(system: System, jid: str) -> tuple[int, int]:
    return traces(system, jid), traces(system, jid, "ends")
