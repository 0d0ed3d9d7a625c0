"""How the command line shows jobs: tables and panels for people, JSON lines for machines."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pman_client.model import Job

STYLES = {
    "notstarted": "yellow",
    "started": "cyan",
    "finishedSuccessfully": "green",
    "finishedWithError": "red",
    "undefined": "red",
}


VERDICT_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def print_json(console: Console, data: object) -> None:
    """Print one line of JSON, whole and without colours, whatever the width of the terminal."""
    console.file.write(json.dumps(data, default=str, ensure_ascii=False) + "\n")


def print_log(console: Console, log: str) -> None:
    """Print a piece of a job's log: byte for byte into a pipe, on a terminal with its colours and no other escapes."""
    if console.is_terminal:
        console.print(Text.from_ansi(log.removesuffix("\n")), soft_wrap=True)
    else:
        console.file.write(log)
        console.file.flush()


def as_json(job: Job) -> dict[str, Any]:
    """Return the job with every key a machine may want, times in ISO 8601."""
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(job).items()}


def job_panel(job: Job) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    rows: dict[str, str | Text] = {
        "state": Text(f"{job.label} ({job.status})", STYLES.get(job.status, "")),
        "reason": job.reason,
        "exit code": "" if job.exit_code is None else str(job.exit_code),
        "message": job.message,
        "image": job.image,
        "command": job.cmd,
        "native": job.native_state,
        "created": _time(job.created_at),
        "started": _time(job.started_at),
        "finished": _time(job.finished_at),
        "took": _took(job),
    }
    for name, value in rows.items():
        if value:
            grid.add_row(name, value if isinstance(value, Text) else Text(value))
    return Panel(grid, title=Text(job.jid), border_style=STYLES.get(job.status, ""), expand=False)


def job_table(jobs: Iterable[Job]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("JID", "STATE", "EXIT", "CREATED", "TOOK", "IMAGE"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        code = "" if job.exit_code is None else str(job.exit_code)
        state = Text(job.label, STYLES.get(job.status, ""))
        table.add_row(Text(job.jid), state, code, _time(job.created_at), _took(job), Text(job.image))
    return table


def _time(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def _took(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{(job.finished_at - job.started_at).total_seconds():.1f} s"


def print_finding(console: Console, subject: str, verdict: str, text: str, repair: str) -> None:
    """Print one line of ``pman doctor``, and how to repair it below."""
    console.print(
        Text.assemble((f"{verdict:<4} ", VERDICT_STYLES[verdict]), (subject, "bold"), f": {text}"), soft_wrap=True
    )
    if repair:
        console.print(Text(f"     -> {repair}", style="dim"), soft_wrap=True)
