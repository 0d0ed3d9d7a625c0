"""Follows one job to its end: a spinner and the growing log for a person, plain lines for a pipe.

The log goes to stdout, what pman says about the job to stderr.
"""

import time
from collections.abc import Iterable
from contextlib import nullcontext

from rich.console import Console
from rich.status import Status
from rich.text import Text

from pman_client.model import Job
from pman_client.show import STYLES, print_log

POLL_S = 0.25


def follow(jobs: Iterable[Job], out: Console, err: Console) -> Job:
    """Show ``jobs``, the states of one job in their order, and return the last one."""
    shown_log = ""
    last: Job | None = None
    spinner = Status("submitted", console=err) if err.is_terminal else None
    # On one terminal the log must go through the console that draws the spinner, or it lands in the spinner's line.
    log_to = err if spinner and out.is_terminal else out
    with spinner or nullcontext():
        for job in jobs:
            has_moved = last is None or (last.label, last.message) != (job.label, job.message)
            if has_moved and not job.is_finished:
                err.print(_change(job), soft_wrap=True)
            if spinner:
                spinner.update(Text.assemble((job.label, STYLES.get(job.status, "")), f" {job.jid}"))
            # A line is shown when it is whole.
            log = job.logs if job.is_finished else job.logs[: job.logs.rfind("\n") + 1]
            if new := new_part(shown_log, log):
                print_log(log_to, new)
                shown_log = log
            if has_moved and job.is_finished:  # after the last of its log
                err.print(_change(job), soft_wrap=True)
            last = job
    if last is None:
        raise ValueError("a job has at least one state")
    return last


def new_part(shown: str, log: str) -> str:
    """Return what of ``log`` was not shown yet. Both are the end of the same growing text, from some line on."""
    starts = [0, *(at + 1 for at, char in enumerate(shown) if char == "\n")]
    for begin in (0, log.find("\n") + 1):  # a log that was cut by its size may begin within a line
        for start in starts:
            if start < len(shown) and log.startswith(shown[start:], begin):
                return log[begin + len(shown) - start :]
    return log


def exit_code(job: Job) -> int:
    """Return the exit code for a command that stands for ``job``: its own, and never 0 for a failure."""
    if job.has_succeeded:
        return 0
    return job.exit_code if job.exit_code and 0 < job.exit_code < 256 else 1


def _change(job: Job) -> Text:
    line = Text.assemble((f"{time.strftime('%H:%M:%S')} ", "dim"), (job.label, STYLES.get(job.status, "")))
    if job.is_finished and job.exit_code is not None:
        line.append(f", exit code {job.exit_code}")
    if job.reason:
        line.append(f", {job.reason}")
    if job.message:
        line.append(f": {job.message}")
    return line
