"""The model beside baselines on the same cases."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import forest, markup, sentences, words
from medvfm.report.view import Row, View

TITLE = "Beside the baselines"
CHANCE = {"auroc": 0.5, "macro_auroc": 0.5, "balanced_accuracy": 0.5}


def build(view: View) -> Markup | None:
    row = view.primary
    if row is None:
        return None
    name, target = row["metric"], row.get("target")
    others = [r for r in view.rows(metric=name, target=target, baseline=...) if r.get("baseline")]
    if not others:
        return None
    gaps = {r["baseline"]: r for r in view.rows(metric=name + words.DIFFERENCE, target=target, baseline=...)}
    lines = [forest.Line(sentences.model_name(view), row, "the model" if view.part("model") else "", "diamond")]
    lines += [
        forest.Line(
            words.title(words.baseline(r["baseline"])),
            r,
            mark="square",
            extra=_gap(gaps[r["baseline"]]) if r["baseline"] in gaps else "",
        )
        for r in sorted(others, key=lambda r: (r.get("value") is None, -(r.get("value") or 0)))
    ]
    named = words.title(words.metric(name))
    table = forest.table(
        f"{named} of the model and of every baseline, on the same {words.units(row, view.unit)}.",
        lines,
        first="Who answered",
        value=named,
        reference=row.get("value"),
        extra="Model minus baseline" if gaps else None,
    )
    return markup.fragment("baselines", table=table, paired=bool(gaps))


def _gap(row: Row) -> str:
    if row.get("value") is None:
        return f"not defined: {row.get('note')}"
    found = words.interval(row)
    return f"{words.value(row)}{f' ({found})' if found else ''}"
