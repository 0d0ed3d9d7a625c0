"""The one table: for the terminal in colour, or in Markdown for the README."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figure import Figure

COLUMNS = ("figure", "goal", "measured", "yardstick of the same run", "ratio", "met")


def print_table(console: Console, figures: Sequence[Figure], machine: str) -> None:
    table = Table(title=machine, title_justify="left", title_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in {"goal", "measured", "ratio"} else "left")
    for figure in figures:
        met = Text("yes", "green") if figure.is_met else Text("no", "bold red")
        table.add_row(*_cells(figure), met)
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"{figure.name}: {figure.note}", style="dim", markup=False, highlight=False)


def to_markdown(figures: Sequence[Figure], machine: str) -> str:
    lines = [machine, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    rows = ((*_cells(figure), "yes" if figure.is_met else "**no**") for figure in figures)
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"{figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    return figure.name, figure.goal_text, figure.measured_text, figure.yardstick, figure.ratio_text
