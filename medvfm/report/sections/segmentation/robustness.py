"""The first overlap metric under less exact prompts, and under more of them."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import WHOLE, Row, View

TITLE = "Robustness to prompts"
NAMES = {
    "box_jitter_px": ("Less exact boxes", "Each side of a box is off by up to (px)", "Box jitter"),
    "clicks": ("More clicks", "Clicks an object", "Clicks"),
}
SIZE_IN = (4.3, 2.9)


def build(view: View) -> Markup | None:
    rows = view.variants()
    if not rows:
        return None
    targets = list(dict.fromkeys(r["target"] for r in rows))
    target = next((t for t in targets if t in WHOLE), targets[0])
    panels = [_panel(view, name, rows, target) for name in NAMES]
    found = [p for p in panels if p is not None]
    if not found:
        return None
    return markup.fragment(
        "robustness",
        panels=found,
        level=text.level(rows[0]),
        baselines=any(p["baseline"] for p in found),
    )


def _panel(view: View, name: str, rows: list[Row], target: str | None) -> dict[str, Any] | None:
    chosen = [r for r in rows if r["target"] == target and r["group"].partition("=")[0] == name]
    metric = chosen[0]["metric"] if chosen else ""
    points = sorted(((at, r) for r in chosen if (at := _number(r)) is not None), key=lambda point: point[0])
    known = [(at, r) for at, r in points if r.get("value") is not None and r["metric"] == metric]
    if len(known) < 2:
        return None
    heading, label, column = NAMES[name]
    base = next(iter(view.rows(metric=metric, target=target, baseline="ellipse")), None) if "box" in name else None
    level = None if base is None else base.get("value")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        x, y = [at for at, _ in known], [r["value"] for _, r in known]
        banded = [(at, r) for at, r in known if r.get("low") is not None and r.get("high") is not None]
        axes.fill_between(
            [at for at, _ in banded], [r["low"] for _, r in banded], [r["high"] for _, r in banded],
            color=svg.BLUE, alpha=0.16, lw=0,
        )  # fmt: skip
        if level is not None:
            axes.axhline(level, color=svg.VERMILION, lw=1.3, ls=(0, (5, 2)))
        axes.plot(x, y, color=svg.BLUE, lw=1.8, marker="o", ms=4.5, mec="white", mew=0.7)
        axes.set(xlabel=label, ylabel=text.title(text.metric(metric)))
        axes.xaxis.set_major_locator(FixedLocator(x))
        axes.set_xticks(x, [f"{at:g}" for at in x])
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.04, y=0.15)

    said = ", ".join(f"{text.value(r)} at {at:g}" for at, r in known)
    return {
        "heading": heading,
        "column": column,
        "metric": text.title(text.metric(metric)),
        "figure": svg.draw(f"robustness-{name}", f"{heading}: {text.metric(metric)} {said}", SIZE_IN, paint),
        "points": [{"at": f"{at:g}{' px' if 'px' in name else ''}", "row": r} for at, r in points],
        "whole": target is not None and target in WHOLE,
        "cases": known[0][1]["cases"],
        "baseline": level is not None,
    }


def _number(row: Row) -> float | None:
    try:
        return float(row["group"].partition("=")[2])
    except ValueError:
        return None
