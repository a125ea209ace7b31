"""Fidelity against diversity as guidance grows, and quality against steps, of a sweep that the recipe asks for."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import Row, View

TITLE = "Guidance and steps"
NAMES = {"guidance": ("Guidance", "Guidance scale"), "steps": ("Steps of sampling", "Steps")}
SIZE_IN = (4.3, 2.9)


def build(view: View) -> Markup | None:
    rows = view.variants(target=...)
    panels = [panel for name in NAMES if (panel := _panel(view, name, rows)) is not None]
    said = view.part("model")
    fixed = {name: said.get(name) for name in NAMES if said.get(name) is not None}
    if not panels and not fixed:
        return None
    return markup.fragment("guidance_curve", panels=panels, fixed=fixed, sampler=said.get("sampler") or "")


def _panel(view: View, name: str, rows: list[Row]) -> dict[str, Any] | None:
    mine = [r for r in rows if str(r["group"]).partition("=")[0] == name and r.get("value") is not None]
    metrics = list(dict.fromkeys((r["metric"], r.get("target")) for r in mine))
    settings = sorted({float(str(r["group"]).partition("=")[2]) for r in mine})
    if len(settings) < 2:
        return None
    heading, column = NAMES[name]

    def at(metric: str, target: Any, setting: float) -> Row | None:
        return next(
            (
                r
                for r in mine
                if (r["metric"], r.get("target")) == (metric, target)
                and float(str(r["group"]).partition("=")[2]) == setting
            ),
            None,
        )

    first = metrics[0]
    points = [(s, r) for s in settings if (r := at(*first, s)) is not None]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        x, y = [s for s, _ in points], [r["value"] for _, r in points]
        for s, r in points:
            if r.get("low") is not None and r.get("high") is not None:
                axes.plot([s, s], [r["low"], r["high"]], color=svg.BLUE, lw=1.2, alpha=0.6)
        axes.plot(x, y, color=svg.BLUE, lw=1.8, marker="o", ms=4)
        axes.set_xlabel(column)
        axes.set_ylabel(text.title(text.metric(first[0])))

    return {
        "heading": heading,
        "column": column,
        "figure": svg.draw(f"curve-{name}", f"{text.metric(first[0])} against {column.lower()}", SIZE_IN, paint),
        "metrics": [text.title(text.metric(m)) + (f", {text.structure(t)}" if t else "") for m, t in metrics],
        "rows": [
            {
                "at": text.compact(s),
                "cells": [text.value(r) if (r := at(m, t, s)) is not None else "–" for m, t in metrics],
            }
            for s in settings
        ],
        "note": next((str(r.get("note") or "") for r in mine), ""),
    }
