"""How far probes on what should not carry the answer come, beside the model."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import EMPTY, View

TITLE = "Shortcut audit"
WARNS = "Possible shortcut"


def build(view: View) -> Markup | None:
    rows = [EMPTY | row for row in view.record.get("shortcuts") or []]
    if not rows:
        return None
    metric, targets = rows[0]["metric"], list(dict.fromkeys(row["target"] for row in rows))
    lines: list[forest.Line] = []
    for target in targets:
        if len(targets) > 1:
            lines.append(forest.Line(text.title(text.structure(str(target or "all")))))
        model = next(iter(view.rows(metric=metric, target=target)), None)
        if model is not None:
            lines.append(forest.Line(sentences.label(view), model, "the model", "diamond"))
        lines += [
            forest.Line(text.title(row["probe"]), row, str(row.get("looks_at") or ""), mark="square")
            for row in rows
            if row["target"] == target
        ]
    named = text.title(text.metric(metric))
    reference = next((r.get("value") for r in view.rows(metric=metric, target=targets[0])), None)
    table = forest.table(
        f"{named} of a probe on each of these alone, on the model's test cases.",
        lines,
        first="Looks at",
        value=named,
        reference=reference if len(targets) == 1 else None,
    )
    said = [str(w) for w in view.record.get("warnings") or [] if str(w).startswith(WARNS)]
    return markup.fragment("shortcuts", table=table, warnings=said)
