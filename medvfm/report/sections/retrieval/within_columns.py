"""What is found among candidates that share a column with the query, beside what is found with texts dealt anew."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import View
from medvfm.report.sections.retrieval.first_numbers import direction, targets

TITLE = "Within columns"
WITHIN = "within "


def build(view: View) -> Markup | None:
    row = view.primary
    if row is None:
        return None
    every = view.rows(metric=row["metric"], group=..., baseline=...)
    groups = list(dict.fromkeys(r["group"] for r in every if str(r.get("group") or "").startswith(WITHIN)))
    if not groups:
        return None
    lines = []
    for target in targets(view):
        for group in (None, *groups):
            rows = view.rows(metric=row["metric"], target=target, group=group, baseline=...)
            mine = [r for r in rows if r.get("group") == group and r.get("target") == target]
            if not mine:
                continue
            among = "all candidates" if group is None else f"{group.replace('_', ' ')} alone"
            lines.append(forest.Line(f"{text.title(direction(target))}, {among}"))
            lines += [
                forest.Line(sentences.label(view), r, mark="diamond")
                if not r.get("baseline")
                else forest.Line(sentences.baseline_label(view, r["baseline"]), r, mark="square")
                for r in sorted(mine, key=lambda r: bool(r.get("baseline")))
            ]
    named = text.title(text.metric(row["metric"]))
    table = forest.table(
        f"{named} among all candidates, and among those alone that share the column with the query.",
        lines,
        first="Candidates",
        value=named,
    )
    columns = [group.removeprefix(WITHIN).replace("_", " ") for group in groups]
    return markup.fragment("within_columns", table=table, columns=columns)
