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
    seconds = _seconds(view, name)
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

    def paint_time(figure: Figure) -> None:
        axes = figure.add_subplot()
        known = [(seconds[s], r["value"], s) for s, r in points if s in seconds]
        axes.plot([x for x, _, _ in known], [y for _, y, _ in known], color=svg.BLUE, lw=1.8, marker="o", ms=4)
        for x, y, s in known:
            axes.annotate(text.compact(s), (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
        axes.set_xlabel("Seconds a case")
        axes.set_ylabel(text.title(text.metric(first[0])))

    named = text.metric(first[0])
    return {
        "heading": heading,
        "column": column,
        "figure": svg.draw(f"curve-{name}", f"{named} against {column.lower()}", SIZE_IN, paint),
        "over_time": svg.draw(f"time-{name}", f"{named} against seconds a case", SIZE_IN, paint_time)
        if name == "steps" and len(seconds) > 1
        else "",
        "timed": bool(seconds),
        "metrics": [text.title(text.metric(m)) + (f", {text.structure(t)}" if t else "") for m, t in metrics],
        "rows": [
            {
                "at": text.compact(s),
                "seconds": text.number(seconds[s], 3) if s in seconds else "–",
                "cells": [text.value(r) if (r := at(m, t, s)) is not None else "–" for m, t in metrics],
            }
            for s in settings
        ],
        "note": next((str(r.get("note") or "") for r in mine), ""),
    }


def _seconds(view: View, name: str) -> dict[float, float]:
    """Setting to how long a case took to be answered."""
    found = {}
    for entry in view.record.get("variants") or []:
        kind, _, setting = str(entry["group"]).partition("=")
        if kind == name and entry.get("cases"):
            found[float(setting)] = float(entry["seconds"]) / int(entry["cases"])
    return found
