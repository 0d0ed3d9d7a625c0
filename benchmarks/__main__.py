"""All figures in one table: ``python -m benchmarks``, or some of them: ``python -m benchmarks get burst``.

Each figure is a module of its own, whose text says what is in it and what is not.
"""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rich.console import Console

from benchmarks import burst, calls, cold, dispatch, get, machine, post, report, scale, sweep, workers
from benchmarks.figure import Figure, Measure

FIGURES: dict[str, Measure] = {
    "dispatch": dispatch.measure,
    "post": post.measure,
    "get": get.measure,
    "scale": scale.measure,
    "sweep": sweep.measure,
    "burst": burst.measure,
    "calls": calls.measure,
    "workers": workers.measure,
    "cold": cold.measure,
}


def main() -> int:
    """Measure and print; 1 if something could not be measured. A goal that is missed is an answer, not an error."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="half the jobs, records, seconds and rounds")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    options = parser.parse_args()
    if unknown := set(options.figures) - FIGURES.keys():
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    progress = Console(stderr=True)
    load_before = machine.load()
    figures, failed = run(options.figures or list(FIGURES), 0.5 if options.quick else 1.0, progress)
    line = f"{machine.describe()}, load {load_before} before and {machine.load()} after"
    if options.markdown:
        sys.stdout.write(report.to_markdown(figures, line))
    else:
        console = Console() if sys.stdout.isatty() else Console(width=150)
        report.print_table(console, figures, line)
    for name in failed:
        progress.print(f"not measured: {name}, see above", style="bold red")
    return 1 if failed else 0


def run(names: list[str], scale: float, progress: Console) -> tuple[list[Figure], list[str]]:
    """Measure one after the other; one that fails does not take the others with it."""
    figures: list[Figure] = []
    failed: list[str] = []
    for name in names:
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="pman-bench-", ignore_cleanup_errors=True) as folder:
            try:
                found = FIGURES[name](Path(folder), scale)
            except Exception:  # noqa: BLE001 - the others are measured all the same
                progress.print(traceback.format_exc(), markup=False, highlight=False)
                failed.append(name)
                continue
        figures += found
        values = ", ".join(f"{figure.measured_text} {figure.ratio_text}".rstrip() for figure in found)
        took_s = time.monotonic() - began_s
        progress.print(f"{name}: {values} ({took_s:.0f} s, load {machine.load()})", style="dim", highlight=False)
    return figures, failed


if __name__ == "__main__":
    sys.exit(main())
