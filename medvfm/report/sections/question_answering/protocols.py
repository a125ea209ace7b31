"""The rule of every protocol, beside what it gives."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import View

TITLE = "Protocols"


def build(view: View) -> Markup | None:
    rules = view.task.get("protocols") or {}
    rows = {r["metric"]: r for r in view.rows()}
    shown = [
        {
            "name": text.title(text.metric(name)),
            "value": text.with_interval(row),
            "n": row.get("cases"),
            "rule": rules[name],
        }
        for name, row in rows.items()
        if name in rules
    ]
    return markup.fragment("protocols", protocols=shown) if shown else None
