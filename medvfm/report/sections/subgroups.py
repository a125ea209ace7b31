"""The main number in every subgroup, as a forest plot."""

from __future__ import annotations

from typing import Any

from medvfm.report import figures
from medvfm.report.run import Run, metric_name
from medvfm.report.sections.answer import lead

TITLE = "Subgroups"


def content(run: Run) -> dict[str, Any] | None:
    row = lead(run)
    if row is None:
        return None
    groups = [r for r in run.select(row["metric"], group=..., target=row["target"]) if r["group"]]
    if not groups:
        return None
    drawn = [("everyone", row["value"], row["low"], row["high"], 0)]
    for r in groups:
        if r["value"] is not None:
            label = f"{r['group'].replace('=', ': ').replace('_', ' ')} ({r['patients']})"
            drawn.append((label, r["value"], r["low"], r["high"], 1))
    name = metric_name(row["metric"])
    figure = figures.intervals(drawn, name, f"{name} in subgroups with intervals", row["value"])
    return {"figure": figure, "undefined": [r for r in groups if r["value"] is None], "noted": [
        r for r in groups if r["value"] is not None and r["note"]], "name": name}  # fmt: skip
