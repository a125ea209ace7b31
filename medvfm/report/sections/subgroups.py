"""The primary number in every subgroup."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import Row, View

TITLE = "Subgroups"


def build(view: View) -> Markup | None:
    row = view.primary
    if row is None:
        return None
    found = view.subgroups(metric=row["metric"], target=row.get("target"))
    if not any(r.get("value") is not None for r in found):
        return None  # a table of reasons why there is no number tells nothing of any subgroup
    lines = [forest.Line("All", row, _size(view, row), "diamond")]
    for column in dict.fromkeys(r["group"].partition("=")[0] for r in found):
        lines.append(forest.Line(text.title(column.replace("_", " "))))
        lines += [
            forest.Line(r["group"].partition("=")[2], r, _size(view, r))
            for r in found
            if r["group"].partition("=")[0] == column
        ]
    named = text.title(text.metric(row["metric"]))
    table = forest.table(
        f"{named} in subgroups; the dashed line is the value of all.",
        lines,
        first="Subgroup",
        value=named,
        reference=row.get("value"),
    )
    return markup.fragment("subgroups", table=table, small=any(r.get("note") for r in found))


def _size(view: View, row: Row) -> str:
    positives, said = row.get("positives"), view.word("positives")
    counted = f", {text.count(positives)} {said}" if said and positives is not None else ""
    return sentences.units(view, row) + counted
