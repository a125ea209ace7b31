"""All numbers of the set of made images in one table, beside rivals and references, with n and extractor."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.run_view import Row, View, is_reference
from medvfm.report.sections.generation.first_numbers import NONE, extractor, features

TITLE = "Fidelity and diversity"
BESIDE_REAL = {"ms_ssim", "nearest_ratio"}  # neither way is better: they are read beside real images
ONLY_USEFUL = {"real_augmented", "real_and_made"}  # they stand beside usefulness alone


def build(view: View) -> Markup | None:
    own = [r for r in view.rows() if r.get("target") is None]
    if not own:
        return None
    everyone = view.rows(baseline=..., target=None)
    known = {r["metric"] for r in everyone if r.get("value") is not None}
    metrics = [str(r["metric"]) for r in own if r["metric"] in known or r is own[0]]
    everyone = [r for r in everyone if r["metric"] in metrics]
    names = [n for n in dict.fromkeys(r.get("baseline") for r in everyone) if n and n not in ONLY_USEFUL]
    rivals = [n for n in names if not is_reference(n)]
    first = own[0]
    rivals.sort(key=lambda n: _size(everyone, first, n))
    groups = [
        ("", [_line(view, everyone, metrics, None)]),
        (
            "Rivals without a generator, and the model before training",
            [_line(view, everyone, metrics, n) for n in rivals],
        ),
        ("References: real images", [_line(view, everyone, metrics, n) for n in names if is_reference(n)]),
    ]
    return markup.fragment(
        "set_numbers",
        metrics=[(text.title(text.metric(m)), _arrow(next(r for r in own if r["metric"] == m))) for m in metrics],
        groups=[(title, lines) for title, lines in groups if lines],
        n=max(int(r.get("cases") or 0) for r in own),
        real=view.part("generation").get("real"),
        features=features(view),
        of_volumes=str(extractor(view).get("of_volumes") or ""),
        level=text.level(first),
    )


def _size(rows: list[Row], like: Row, baseline: str) -> float:
    found = next((r for r in rows if r["metric"] == like["metric"] and r["baseline"] == baseline), None)
    value = None if found is None else found.get("value")
    return float("inf") if value is None else float(value)


def _line(view: View, rows: list[Row], metrics: list[str], baseline: str | None) -> dict[str, object]:
    mine = {r["metric"]: r for r in rows if r.get("baseline") == baseline}
    label = sentences.label(view) if baseline is None else sentences.baseline_label(view, baseline)
    cells = [_cell(mine.get(metric)) for metric in metrics]
    return {"label": label, "model": baseline is None, "cells": cells}


def _cell(row: Row | None) -> dict[str, str]:
    if row is None or row.get("value") is None:
        return {"value": NONE, "interval": "", "note": "" if row is None else str(row.get("note") or "")}
    return {"value": text.value(row), "interval": text.interval(row), "note": ""}


def _arrow(row: Row) -> str:
    if row["metric"] in BESIDE_REAL:
        return ""
    return {"lower": "↓", "higher": "↑"}.get(str(row.get("better")), "")
