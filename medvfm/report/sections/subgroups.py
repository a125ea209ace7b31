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
    rest = {r["group"]: r for r in view.subgroups(metric=row["metric"] + text.REST, target=row.get("target"))}
    gaps = [r for r in view.rows(metric=row["metric"] + text.GAP, target=row.get("target"), group=...) if r.get("note")]
    lines = [forest.Line("All", row, _size(view, row), "diamond")]
    for column in dict.fromkeys(r["group"].partition("=")[0] for r in found):
        lines.append(forest.Line(text.title(_column(column))))
        lines += [
            forest.Line(r["group"].partition("=")[2], r, _size(view, r), extra=_apart(rest.get(r["group"])))
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
        extra="Group minus the rest" if rest else None,
    )
    return markup.fragment("subgroups", table=table, tested=bool(rest), gaps=[_gap(r) for r in gaps])


def _column(name: str) -> str:
    """`age_band*sex` as "age band and sex"."""
    return text.listed([part.replace("_", " ") for part in name.split("*")])


def _apart(row: Row | None) -> str:
    """The difference to the rest, with the adjusted p-value of its test."""
    if row is None or row.get("value") is None:
        return ""
    p = row.get("p_adjusted")
    said = "" if p is None else f", adjusted {'p < 0.001' if p < 0.001 else f'p {p:.2g}'}"
    return f"{text.value(row)} ({text.interval(row)}){said}" if text.interval(row) else text.value(row)


def _gap(row: Row) -> str:
    return f"{_column(row['group'].partition('=')[2])}: {text.value(row)} ({row['note'].partition(';')[0]})"


def _size(view: View, row: Row) -> str:
    positives, said = row.get("positives"), view.word("positives")
    counted = f", {text.count(positives)} {said}" if said and positives is not None else ""
    return sentences.units(view, row) + counted
