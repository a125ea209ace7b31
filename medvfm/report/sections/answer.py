"""The top of the page: what was asked, and the answer with its interval."""

from __future__ import annotations

from typing import Any

from medvfm.report.run import Run, interval, metric_name, number


def content(run: Run) -> dict[str, Any]:
    return {"sentences": sentences(run), "lead": lead(run)}


def lead(run: Run) -> dict[str, Any] | None:
    """The row that the page opens with: the macro row where there are several targets, else the first with a value."""
    rows = run.select()
    first = [r for r in rows if r["metric"] == rows[0]["metric"]] if rows else []
    macro = [r for r in first if r["target"] in ("macro", None)]
    return next((r for r in [*macro, *first, *rows] if r["value"] is not None), None)


def sentences(run: Run) -> list[str]:
    """What was done and found, then how it compares."""
    row = lead(run)
    if row is None:
        return ["No number could be computed; the notes below say why."]
    named = ", ".join(run.targets) if row["target"] in ("macro", None) else str(row["target"])
    unit = run.part("task", "unit") or "case"
    counted = f"{row['cases']} {'images' if unit == 'image' else unit + 's'}"
    if unit != "patient":
        counted += f" of {row['patients']} patients"
    found = f"{metric_name(row['metric'])} of {number(row['value'])}"
    found += f" ({run.level} interval {interval(row)})" if interval(row) else ""
    who = _who(run)
    said = [f"{who} answered the question “{named}” for {counted} that it had never seen, with an {found}."]
    if who is None:
        said = [f"The predictions for “{named}” reach an {found} over {counted}."]
    difference = _best_baseline(run, row)
    if difference:
        said.append(difference)
    return [s.replace("an Average", "an average").replace("an Balanced", "a balanced") for s in said]


def _who(run: Run) -> str | None:
    model = run.part("model")
    if not model:
        return None
    return f"{model.get('weights', model.get('adapter'))!s}, adapted by {str(model.get('method')).replace('_', ' ')},"


def _best_baseline(run: Run, row: dict[str, Any]) -> str | None:
    rivals = [
        r
        for r in run.select(row["metric"], baseline=..., target=row["target"])
        if r["baseline"] and r["value"] is not None
    ]
    if not rivals:
        return None
    best = (min if row["better"] == "lower" else max)(rivals, key=lambda r: r["value"])
    differences = run.select(f"{row['metric']}_difference", baseline=best["baseline"], target=row["target"])
    said = f"The best baseline, {best['baseline'].replace('_', ' ')}, reaches {number(best['value'])}"
    if differences and differences[0]["value"] is not None and interval(differences[0]):
        gap = differences[0]
        sure = gap["low"] > 0 or gap["high"] < 0
        said += f"; the difference is {number(gap['value'])} ({interval(gap)})"
        said += "" if sure else ", an interval that includes none"
    return said + "."
