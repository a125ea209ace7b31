"""The data: what they are, who was left out, how they were split, who they are."""

from __future__ import annotations

from typing import Any

from medvfm.report.run import Run

TITLE = "Data"


def content(run: Run) -> dict[str, Any] | None:
    data = run.part("data")
    if not data:
        return None
    reasons: dict[str, int] = {}
    for entry in data.get("left_out", []):
        reasons[entry["reason"]] = reasons.get(entry["reason"], 0) + 1
    table = data.get("characteristics") or []
    return {
        "card": data.get("card"),
        "layout": data.get("layout"),
        "flow": data.get("flow") or [],
        "reasons": sorted(reasons.items(), key=lambda item: -item[1])[:10],
        "splits": data.get("splits") or {},
        "table": table,
        "columns": [k for k in (table[0] if table else {}) if k != "name"],
        "folds": data.get("folds"),
        "openings": data.get("test_openings"),
    }
