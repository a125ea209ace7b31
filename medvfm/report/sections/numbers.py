"""Every row of run.json."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, words
from medvfm.report.view import Row, View

TITLE = "All numbers"


def build(view: View) -> Markup | None:
    if not view.metrics:
        return None
    groups: dict[str, list[Row]] = {}
    for row in view.metrics:
        groups.setdefault(_heading(row), []).append(row)
    methods = dict.fromkeys(r["method"] for r in view.metrics if r.get("method"))
    return markup.fragment(
        "numbers",
        groups=list(groups.items()),
        unit=view.unit,
        methods=[words.INTERVALS.get(m, m) for m in methods],
        several=len({r.get("target") for r in view.metrics}) > 1,
    )


def _heading(row: Row) -> str:
    split = {"test": "Test", "val": "Validation", "train": "Training"}.get(row["split"], row["split"])
    if row.get("baseline") and row["metric"].endswith(words.DIFFERENCE):
        return f"{split}: model minus {words.baseline(row['baseline'])}"
    if row.get("baseline"):
        return f"{split}: {words.baseline(row['baseline'])}"
    if row.get("group"):
        return f"{split}: {row['group'].replace('=', ' ').replace('_', ' ')}"
    return f"{split}: the model"
