"""The main numbers of the test cases."""

from __future__ import annotations

from typing import Any

from medvfm.report.run import Run

TITLE = "Results"


def content(run: Run) -> dict[str, Any] | None:
    rows = run.select()
    validation = {(r["metric"], r["target"]): r for r in run.select(split="val")}
    return {"rows": rows, "validation": validation} if rows else None
