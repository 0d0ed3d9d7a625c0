"""``make soak``: 20,000 jobs through a whole system, and tables of what has grown and what is left."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.leaks import soak
from tests.faults.leaks.measure import Kind
from tests.faults.leaks.soak import Outcome

JOBS = 20_000
KIB_PER_1000_MAX = 256.0
"""256 bytes a job: less than one entry of a table by jid and generation takes."""
WIDTH = 120


def growth_table(outcome: Outcome, count: int, warm: int) -> Table:
    table = Table(
        title=f"{count} jobs in {outcome.seconds:.0f} s; growth from the {warm}th on, at most {KIB_PER_1000_MAX:g} KiB "
        "per 1,000 jobs",
        title_justify="left",
    )
    for column in ("process", "MiB at first", "MiB at last", "KiB per 1,000 jobs", "descriptors", "threads"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for name, grown in outcome.growths.items():
        first, last = grown.first, grown.last
        table.add_row(
            name,
            f"{first.uss_kib / 1024:.1f}",
            f"{last.uss_kib / 1024:.1f}",
            f"{grown.kib_per_1000:+.1f}",
            f"{last.fds} ({grown.more_fds:+d})",
            f"{last.threads} ({grown.more_threads:+d})",
        )
    return table


def keys_table(outcome: Outcome) -> Table:
    table = Table(title="keys in Redis, before -> after the retention", title_justify="left")
    for column in ("kind", "keys", "members", "without an end", "KiB"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for name in sorted(outcome.before.keys() | outcome.after.keys()):
        was, now = outcome.before.get(name, Kind()), outcome.after.get(name, Kind())
        table.add_row(
            name,
            f"{was.keys} -> {now.keys}",
            f"{was.members} -> {now.members}",
            f"{was.lasting} -> {now.lasting}",
            f"{was.bytes / 1024:.1f} -> {now.bytes / 1024:.1f}",
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.leaks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    options = parser.parse_args()
    # What the observer remembers of ends is full after 10,000 of them, and only then does it stay as it is.
    warm = options.jobs * 13 // 20
    console = Console(width=WIDTH)
    with tempfile.TemporaryDirectory(prefix="pman-soak-") as name:
        outcome = soak.run(Path(name) / "pman", options.jobs, warm)
    console.print(growth_table(outcome, options.jobs, warm))
    console.print(keys_table(outcome))
    console.print("left on the scheduler: " + ", ".join(f"{left} {name}" for name, left in outcome.native.items()))
    faults = soak.faults(outcome, KIB_PER_1000_MAX)
    for fault in faults:
        console.print(fault, style="red", markup=False, highlight=False)
    console.print(f"{len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
