"""``make fuzz``: a long campaign against a real system, and a table of the replies by kind of request and by status."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.fuzz import campaign
from tests.faults.fuzz.campaign import Outcome

WIDTH = 150


def to_table(outcome: Outcome, seed: int) -> Table:
    replies = outcome.report.replies
    statuses = sorted({status for _, status in replies})
    report = outcome.report
    title = f"seed {seed}: {report.requests} requests in {outcome.seconds:.0f} s, {outcome.jobs} jobs, "
    title += f"slowest reply {report.slowest_s:.2f} s"
    table = Table(title=title, title_justify="left")
    table.add_column("requests")
    for status in statuses:
        table.add_column(str(status) if status else "closed", justify="right")
    for kind in sorted({kind for kind, _ in replies}):
        table.add_row(kind, *(str(replies[kind, status] or "") for status in statuses))
    totals = [sum(count for (_, status), count in replies.items() if status == wanted) for wanted in statuses]
    table.add_row("all", *map(str, totals), style="bold")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    console = Console(width=WIDTH)
    console.print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="pman-fuzz-") as name:
        outcome = campaign.run(Path(name) / "pman", options.requests, options.seed, options.clients)
    console.print(to_table(outcome, options.seed))
    for fault in outcome.report.faults:
        console.print(fault, style="red", markup=False, highlight=False)
    console.print(f"{len(outcome.report.faults)} faults")
    return bool(outcome.report.faults)


if __name__ == "__main__":
    sys.exit(main())
