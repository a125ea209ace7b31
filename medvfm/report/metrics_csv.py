"""Every row of run.json's metrics as a table of text."""

from __future__ import annotations

import csv
import io

from medvfm.report.run_view import View

FILE = "metrics.csv"
COLUMNS = (
    "metric", "target", "split", "group", "baseline", "value", "low", "high", "level", "method", "cases", "patients",
    "positives", "unit", "better", "note",
)  # fmt: skip


def text(view: View) -> str:
    """Comma-separated, a line a row, numbers in full; `task` comes first in a run of several tasks.

    A cell that a spreadsheet would compute, since a name of a group begins with = or @, gets an apostrophe before it.
    """
    several = any(row.get("task") for row in view.metrics)
    columns = (*(["task"] if several else []), *COLUMNS)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in view.metrics)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
