"""The model and its baselines on the same cases."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.charts import forest
from medvfm.report.run_view import MEAN, Row, View, is_oracle, is_reference

TITLE = "Comparison with baselines"
MOST_STRUCTURES = 12


def build(view: View) -> Markup | None:
    row = view.primary
    if row is None:
        return None
    name, target = row["metric"], row.get("target")
    others = [r for r in view.rows(metric=name, target=target, baseline=...) if r.get("baseline")]
    if not others:
        return None
    several = target == MEAN  # a structure's difference is not that of the mean: each is shown
    lines = [forest.Line(f"Mean of the {view.word('classes') or 'classes'}")] if several else []
    lines += _lines(view, row)
    if several:
        of_structures = [r for r in view.rows(metric=name) if r.get("target") != MEAN][:MOST_STRUCTURES]
        for each in of_structures:
            lines += [forest.Line(text.title(text.structure(each["target"]))), *_lines(view, each)]
    paired = bool(view.rows(metric=name + text.DIFFERENCE, target=target, baseline=...))
    named = text.title(text.metric(name))
    table = forest.table(
        f"{named} of the model and of every baseline, on the same {sentences.units(view, row)}.",
        lines,
        first="Model or baseline",
        value=named,
        reference=None if several else row.get("value"),
        extra="Model minus baseline" if paired else None,
    )
    return markup.fragment("baselines", table=table, paired=paired, line=not several, unfair=_unfair(view, others))


def _lines(view: View, row: Row) -> list[forest.Line]:
    """The model, and every baseline from the best on, of one target."""
    name, target = row["metric"], row.get("target")
    others = [r for r in view.rows(metric=name, target=target, baseline=...) if r.get("baseline")]
    gaps = {r["baseline"]: r for r in view.rows(metric=name + text.DIFFERENCE, target=target, baseline=...)}
    sign = 1 if row.get("better") == "lower" else -1
    ranked = sorted(others, key=lambda r: (r.get("value") is None, sign * (r.get("value") or 0)))
    model = forest.Line(sentences.label(view), row, "the model" if view.part("model") else "", "diamond")
    return [model] + [
        forest.Line(
            sentences.baseline_label(view, r["baseline"]),
            r,
            _detail(view, r["baseline"]),
            mark="square",
            extra=_gap(gaps[r["baseline"]]) if r["baseline"] in gaps else "",
        )
        for r in ranked
    ]


def _unfair(view: View, others: list[Row]) -> list[str]:
    """Baselines that were told by the truth where to look, beside a model that was not."""
    if view.oracle is not None:
        return []
    return [view.baseline(r["baseline"]) for r in others if is_oracle(r.get("note"))]


def _detail(view: View, name: str) -> str:
    """What the baseline is, where the record says it."""
    summary = str(view.part("baselines", name).get("summary") or "")
    return "; ".join(part for part in ("reference" if is_reference(name) else "", summary) if part)


def _gap(row: Row) -> str:
    if row.get("value") is None:
        return f"not defined: {row.get('note')}"
    found = text.interval(row)
    return f"{text.value(row)}{f' ({found})' if found else ''}"
