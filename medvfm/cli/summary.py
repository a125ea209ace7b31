"""The last lines of `run`, `evaluate` and `report`: what the first screen of the report says, from the same source."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
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
    if found.by:
        paragraph(f"{found.by}.", "dim")
    if found.comparison:
        paragraph(found.comparison)
    if found.reference:
        paragraph(f"Reference standard: {found.reference.rstrip('.')}.", "dim")
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
    for one in (view, *view.further):
        said = found if one is view else headline.build(one)
        if one is not view:
            console.print(Text(f"{said.before} ").append(said.number, style="bold").append(said.after))
            if said.comparison:
                paragraph(said.comparison)
        numbers = headline.main_numbers(one, said)
        if numbers.rows:
            notes = list(dict.fromkeys(part for note in numbers.notes for part in _parts(note)))
            console.print(_table(numbers, notes))
            for number, note in enumerate(notes, 1):
                marked(_mark(number), note, "dim")
    console.print(Text(f"report: {directory / 'report.html'}"), soft_wrap=True)


def _parts(note: str) -> list[str]:
    return [part.strip() for part in note.split("; ") if part.strip()]


def _mark(number: int) -> str:
    """A small raised number."""
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _table(numbers: PlainTable, notes: Sequence[str]) -> Table:
    """A line a number, marked with the numbers of the notes that explain it, which stand below the table."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=numbers.caption or None, title_justify="left")
    for number, name in enumerate(numbers.columns):
        first = number == 0
        shown.add_column(
            name, no_wrap=not first, justify="left" if first else "right", max_width=NAME_WIDTH if first else None
        )
    for row, note in zip(numbers.rows, numbers.notes, strict=True):
        marks = "·".join(_mark(1 + notes.index(part)) for part in _parts(note))
        head = Text(row[0]).append(marks, style="dim")
        shown.add_row(head, *(Text(cell) for cell in row[1:]))
    return shown
