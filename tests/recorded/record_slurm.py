"""Records what a real squeue and sacct print: ``python tests/recorded/record_slurm.py``, as root.

Writes ``tests/recorded/slurm/squeue.txt`` and ``sacct.txt``, which the unit tests read: what pman's own transport was
given when it asked, byte for byte, but for the jobs of others. The cluster is that of ``SLURM_DBD=1
testbed/slurm/up.sh``, which nobody else may use meanwhile. It takes two minutes: Slurm is in no hurry with time limits.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backends._slurm.commands import CommandTransport
from backends._slurm.parse import FIELD_END, RECORD_END
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import NativeJob

OUT = Path(__file__).parent / "slurm"
PREFIX = "pman-rec-"
COMMENT = "pman/1 rec 01m89ybkb5jxqhsgmxeqz6xb0j 00 {}"
GOES_ON = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}
ALL_NODES = ("--exclusive", "--nodes=6")
JOBS: dict[str, tuple[str, ...]] = {
    "completed": ("sleep 1",),
    "failed": ("exit 3",),
    "killed": ("kill -9 $$",),
    "segv": ("bash -c 'kill -SEGV $$'; exit $?",),
    "oom": ("python3 -c 'bytearray(400 << 20)'", "--mem=100"),
    "cancelled-running": ("exec sleep 100",),
    "held": ("true", "--hold"),
    "cancelled-pending": ("true", "--hold"),
    "killed-by-scancel": ("exec sleep 100",),
    "timeout": ("exec sleep 300", "--time=1"),
    "running": ("exec sleep 300",),
    "badchdir": ("true", "--chdir=/nonexistent"),
    "badoutput": ("true", "--output=/nonexistent/out"),
    "resources": ("true", *ALL_NODES),
    "priority": ("true", *ALL_NODES),
}
"""What each of them runs, and with what options of sbatch beside :func:`submit`'s."""
LASTING = ("cancelled-running", "killed-by-scancel", "timeout", "running")
WAIT_FOR = {"resources": "Resources", "priority": "Priority", "held": "JobHeldUser"}
DEPENDENCY = "dependency"


def submit(name: str, script: str, *options: str) -> str:
    who = (f"--job-name={PREFIX}{name}", f"--comment={COMMENT.format(name)}")
    argv = ["sbatch", "--parsable", "--no-requeue", *who, "--time=5", "--mem=50", "--output=/dev/null", *options]
    text = f"#!/bin/bash\n{script}\n"
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=True, cwd="/tmp").stdout.strip()


def witness(folder: Path, name: str) -> Path:
    """Put a program before a command of Slurm that keeps what it prints; return where."""
    kept, program = folder / f"{name}.out", folder / name
    program.write_text(f'#!/bin/sh\n/usr/bin/{name} "$@" > {kept} || exit\ncat {kept}\n')
    program.chmod(0o755)
    return kept


def wait(what: str, question: Callable[[], object]) -> None:
    deadline = time.monotonic() + 150
    while not question():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def ours(text: str, record_end: str) -> str:
    """Leave out the records of other jobs."""
    records = text.split(record_end)
    return "".join(f"{record}{record_end}" for record in records if f"{FIELD_END}{PREFIX}" in record)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing, accounts = witness(folder, "squeue"), witness(folder, "sacct")
        slurm = CommandTransport(SlurmSettings(slurm_path=f"{folder}:/usr/bin:/bin"))
        ids = {job: submit(job, *what) for job, what in JOBS.items()}
        ids[DEPENDENCY] = submit(DEPENDENCY, "true", f"--dependency=afterok:{ids['failed']}")

        def listed() -> dict[str, NativeJob]:
            by_id = {job.job_id: job for job in slurm.jobs()}
            return {job: by_id[int(job_id)] for job, job_id in ids.items()}

        wait("those that last run", lambda: {listed()[job].state for job in LASTING} == {"RUNNING"})
        subprocess.run(["scancel", ids["cancelled-running"], ids["cancelled-pending"]], check=True)
        subprocess.run(["scancel", "--signal=KILL", ids["killed-by-scancel"]], check=True)
        going_on = {"timeout", "running", DEPENDENCY, *WAIT_FOR}
        over = ids.keys() - going_on
        wait("the others have ended", lambda: GOES_ON.isdisjoint(listed()[job].state for job in over))
        wait("those that wait say why", lambda: all(listed()[job].reason == why for job, why in WAIT_FOR.items()))
        wait("and the last one", lambda: listed()[DEPENDENCY].reason.startswith("Dependency"))
        OUT.joinpath("squeue.txt").write_bytes(ours(listing.read_bytes().decode(), f"{RECORD_END}\n").encode())
        wait("a time limit is kept", lambda: listed()["timeout"].state == "TIMEOUT")
        subprocess.run(["scancel", *(ids[job] for job in going_on - {"timeout"})], check=True)

        def accounted() -> bool:
            known = slurm.accounted([int(job_id) for job_id in ids.values()], datetime.now(UTC) - timedelta(hours=1))
            return len(known) == len(ids) and not [job for job in known if job.state in GOES_ON]

        wait("accounting has heard of all ends", accounted)
        OUT.joinpath("sacct.txt").write_bytes(ours(accounts.read_bytes().decode(), "\n").encode())


if __name__ == "__main__":
    assert os.geteuid() == 0, "the names of users in the recordings are root's"
    main()
