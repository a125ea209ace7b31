"""Every number of every model on every number of training patients."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import View

TITLE = "All numbers"


def build(view: View) -> Markup | None:
    rows = view.metrics
    if not rows:
        return None
    several = len({r.get("target") for r in rows}) > 1
    return markup.fragment(
        "swept_numbers",
        several=several,
        level=text.level(rows[0]),
        rows=[
            {
                "model": row.get("model"),
                "patients": row.get("train_patients"),
                "cases": row.get("train_cases"),
                "metric": text.title(text.metric(row["metric"])),
                "target": row.get("target") or "all",
                "value": "not defined" if row.get("value") is None else text.value(row),
                "interval": text.interval(row),
                "note": row.get("note") or "",
            }
            for row in rows
        ],
    )
