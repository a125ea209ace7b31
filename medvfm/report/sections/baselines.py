"""The model beside what it has to beat, on the same cases."""

from __future__ import annotations

from typing import Any

from medvfm.report import figures
from medvfm.report.run import Run, metric_name
from medvfm.report.sections.answer import lead

TITLE = "Against baselines"


def content(run: Run) -> dict[str, Any] | None:
    row = lead(run)
    if row is None:
        return None
    others = [
        r
        for r in run.select(row["metric"], baseline=..., target=row["target"])
        if r["baseline"] and r["value"] is not None
    ]
    if not others:
        return None
    drawn = [("model", row["value"], row["low"], row["high"], 0)]
    drawn += [(r["baseline"].replace("_", " "), r["value"], r["low"], r["high"], 1) for r in others]
    name = metric_name(row["metric"])
    differences = [r for r in run.rows if r["metric"] == f"{row['metric']}_difference" and r["target"] == row["target"]]
    line = 0.5 if row["metric"] == "auroc" else row["value"]
    return {
        "figure": figures.intervals(drawn, name, f"{name} of the model and of each baseline with intervals", line),
        "differences": differences,
        "name": name,
    }
