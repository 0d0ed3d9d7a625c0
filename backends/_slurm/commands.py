"""Slurm by its commands, for pman on a login node: argv lists, an environment of our own, and a time-out for each.

https://slurm.schedmd.com/sbatch.html https://slurm.schedmd.com/squeue.html https://slurm.schedmd.com/sacct.html
https://slurm.schedmd.com/scancel.html https://slurm.schedmd.com/scontrol.html
"""

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from backends._slurm.errors import NO_ACCOUNTING, error_from, is_over, one_line
from backends._slurm.parse import (
    FIELD_END,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    jobs_from_sacct,
    jobs_from_squeue,
    unaccounted_from_sdiag,
)
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import NativeJob, NoAccounting, SbatchOrder
from pman_core.errors import Rejected, Unavailable, Unparseable

NEEDED = ("sbatch", "squeue", "scancel", "scontrol")
IDS_PER_CALL = 1000
"""Far below the 128 KiB that one argument may have."""


class CommandTransport:
    """A :class:`backends._slurm.transport.Transport` over the commands of this host."""

    def __init__(self, own: SlurmSettings) -> None:
        self._own = own

    def open(self) -> None:
        if missing := [name for name in NEEDED if self._which(name) is None]:
            raise Rejected(f"{', '.join(missing)}: not found in SLURM_PATH, {self._own.slurm_path}")
        self.ping()

    def close(self) -> None:
        """There is nothing to release."""

    def submit(self, order: SbatchOrder) -> int:
        done = self._run(sbatch_argv(order), stdin=order.script, env=order.environment)
        if done.returncode != 0:
            raise error_from("sbatch", done.stderr)
        job_id = done.stdout.strip().split(";")[0]  # ID;CLUSTER in a federation
        if not job_id.isdigit():
            raise Unparseable("sbatch has not printed a job id", done.stdout + done.stderr)
        return int(job_id)

    def jobs(self) -> Sequence[NativeJob]:
        argv = ["squeue", "--noheader", "--all", f"--user={os.geteuid()}", "--states=all", f"--Format={SQUEUE_FORMAT}"]
        done = self._run(argv)
        # A controller that goes away in the middle leaves a part of the list and a complaint.
        if done.returncode != 0 or "error" in done.stderr:
            raise _not_refused("squeue", done.stderr)
        return jobs_from_squeue(done.stdout)

    def accounted(self, job_ids: Collection[int], since: datetime) -> Sequence[NativeJob]:
        if self._which("sacct") is None:
            raise NoAccounting
        found: dict[int, NativeJob] = {}
        for chunk in _chunks(sorted(job_ids), IDS_PER_CALL):
            done = self._run(sacct_argv(chunk, since))
            if any(text in done.stderr for text in NO_ACCOUNTING):
                raise NoAccounting
            if done.returncode != 0 or "error" in done.stderr:
                raise _not_refused("sacct", done.stderr)
            found |= {job.job_id: job for job in jobs_from_sacct(done.stdout)}
        return list(found.values())

    def unaccounted(self) -> int:
        if self._which("sdiag") is None:
            return 0
        done = self._run(["sdiag"])
        if done.returncode != 0:
            raise _not_refused("sdiag", done.stderr)
        return unaccounted_from_sdiag(done.stdout)

    def cancel(self, job_ids: Collection[int], *, gently: bool = False) -> None:
        how = "--full" if gently else "--signal=KILL"
        for chunk in _chunks(sorted(job_ids), IDS_PER_CALL):
            done = self._run(["scancel", how, *map(str, chunk)])
            # It goes on after each job that is over already, and fails for it at the end.
            rest = [line for line in done.stderr.splitlines() if line.strip() and not is_over(line)]
            if rest or (done.returncode != 0 and not done.stderr.strip()):
                raise _not_refused("scancel", "\n".join(rest))

    def ping(self) -> str:
        version = self._run(["scontrol", "--version"]).stdout.strip()
        done = self._run(["scontrol", "ping"])
        # One line for each controller, "Slurmctld(primary) at HOST is UP": one of them is enough.
        up = [line.strip() for line in done.stdout.splitlines() if " is UP" in line]
        if not up:
            raise Unavailable(f"no slurmctld answers: {one_line(done.stdout + done.stderr)}")
        return f"{up[0]}, {version}"

    def _run(
        self, argv: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm. Raises ``Unavailable``: it cannot be started, or does not end."""
        command = self._which(argv[0])
        if command is None:
            raise Unavailable(f"{argv[0]}: not found in SLURM_PATH, {self._own.slurm_path}")
        try:
            return subprocess.run(
                [command, *argv[1:]],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                env={**self._environment(), **(env or {})},
                cwd="/",
                timeout=self._own.slurm_timeout_s,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{argv[0]}: no answer within {self._own.slurm_timeout_s:g} s") from None
        except OSError as error:
            raise Unavailable(f"{argv[0]} cannot be started: {error}") from error

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self._own.slurm_path)

    def _environment(self) -> dict[str, str]:
        """Return what a command finds: nothing of SQUEUE_FORMAT, SBATCH_* and the like, and times in UTC."""
        conf = {} if self._own.slurm_conf is None else {"SLURM_CONF": str(self._own.slurm_conf)}
        return {"PATH": self._own.slurm_path, "LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "standard", **conf}


def sbatch_argv(order: SbatchOrder) -> list[str]:
    """Return the command line of an order; the script comes by stdin. Pure."""
    output = order.output.replace("%", "%%")
    argv = [
        "sbatch",
        "--parsable",
        "--no-requeue",
        f"--export={','.join(order.environment) or 'NONE'}",
        f"--job-name={order.name}",
        f"--comment={order.comment}",
        f"--chdir={order.work_dir}",
        f"--output={output}",
        f"--error={output}",
        "--open-mode=append",
        f"--nodes={order.nodes}",
        f"--ntasks={order.nodes}",
        "--ntasks-per-node=1",
    ]
    wishes = {
        "cpus-per-task": order.cpus,
        "mem": order.memory_mib,
        "gres": order.gres,
        "time": order.time_limit_minutes,
        "partition": order.partition,
        "account": order.account,
        "qos": order.qos,
        "constraint": order.constraint,
    }
    argv += [f"--{name}={value}" for name, value in wishes.items() if value not in {None, ""}]
    return argv + [f"--{name}={value}" if value else f"--{name}" for name, value in order.options]


def sacct_argv(job_ids: Sequence[int], since: datetime) -> list[str]:
    """Return the command line that asks accounting for these jobs. Pure."""
    return [
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        f"--delimiter={FIELD_END}",
        f"--format={','.join(SACCT_FIELDS)}",
        f"--starttime={since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
        f"--jobs={','.join(map(str, job_ids))}",
    ]


def _not_refused(command: str, text: str) -> Unavailable | Unparseable:
    """Return the error of a question: nobody is rejected by one."""
    error = error_from(command, text)
    return Unparseable(str(error), text) if isinstance(error, Rejected) else error  # type: ignore[return-value]


def _chunks(items: Sequence[int], size: int) -> Iterator[list[int]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
