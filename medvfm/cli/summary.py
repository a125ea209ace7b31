"""The last lines of `run`, `evaluate` and `report`: what the first screen of the report says, from the same source."""

from __future__ import annotations

import sys
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medvfm.report import headline, run_view
from medvfm.report.plain_table import PlainTable

MOST_WIDTH = 100
WIDTH_OF_A_FILE = 100  # where the output is no terminal
MOST_WARNINGS = 6
NAME_WIDTH = 58


def show(directory: Path) -> None:
    """Answer, comparison, warnings and main numbers of a run directory, and where its report lies."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    console.width = min(console.width, MOST_WIDTH)
    with console.capture() as lines:
        _write(console, directory)
    print("\n".join(line.rstrip() for line in lines.get().splitlines()))


def _write(console: Console, directory: Path) -> None:
    view = run_view.load(directory)
    found = headline.build(view)

    def paragraph(said: str, style: str = "") -> None:
        console.print(Text(said, style=style))

    def marked(tag: str, said: str, style: str) -> None:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, style=style)
        grid.add_column(overflow="fold")
        grid.add_row(Text(tag), Text(said))
        console.print(grid)

    console.print()
    answer = Text(f"{found.before} ").append(found.number, style="bold").append(found.after)
    console.print(answer)
    if found.comparison:
        paragraph(found.comparison)
    if found.reference:
        paragraph(f"Reference standard: {found.reference}.", "dim")
    console.print()
    if found.status:
        marked("UNFINISHED", found.status, "bold red")
    if found.oracle:
        marked("ORACLE PROMPTS", f"{headline.ORACLE} ({found.oracle})", "bold red")
    if found.simulated:
        marked("SIMULATED DATA", headline.SIMULATED, "bold yellow")
    for warning in found.warnings[:MOST_WARNINGS]:
        marked("warning", warning, "yellow")
    if len(found.warnings) > MOST_WARNINGS:
        marked("warning", f"{len(found.warnings) - MOST_WARNINGS} more in the report", "yellow")
    numbers = headline.main_numbers(view, found)
    if numbers.rows:
        console.print(_table(numbers))
    console.print(Text(f"report: {directory / 'report.html'}"), soft_wrap=True)


def _table(numbers: PlainTable) -> Table:
    """A line a number. What explains it stands below its name, so that no column is squeezed to single letters."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=numbers.caption or None, title_justify="left")
    for number, name in enumerate(numbers.columns):
        first = number == 0
        shown.add_column(
            name, no_wrap=not first, justify="left" if first else "right", max_width=NAME_WIDTH if first else None
        )
    for row, note in zip(numbers.rows, numbers.notes, strict=True):
        head: RenderableType = Text(row[0])
        if note:
            head = Group(head, Padding(Text(note, style="dim"), (0, 0, 0, 2)))
        shown.add_row(head, *(Text(cell) for cell in row[1:]))
    return shown
