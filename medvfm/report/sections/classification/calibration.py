"""Agreement of predicted probabilities with observed shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medvfm.core.errors import Undefined
from medvfm.metrics import calibration
from medvfm.report import markup, proportions, text
from medvfm.report.charts import svg
from medvfm.report.run_view import Scores, View

TITLE = "Calibration"
BINS = 10
MOST = 8
MARKERS = "os^Dv"  # of folds
METRICS = ("brier", "log_loss", "ece", "ece_equal_mass", "calibration_slope", "calibration_intercept")
SIZE_IN = (4.3, 4.6)
NOT_RECALIBRATED = "recalibrated=no"
WAYS = {"platt": "Platt's scaling", "temperature": "a temperature"}


def build(view: View) -> Markup | None:
    if not view.targets:
        return None
    rows = [r for r in view.rows() if r["metric"].partition("@")[0] in METRICS]
    level = view.level
    panels = [_panel(view, number, target, level) for number, target in enumerate(view.targets[:MOST])]
    lone = all(s is None or s.independent for s in map(view.scores, view.targets))
    return markup.fragment(
        "calibration",
        panels=panels,
        rows=rows,
        several=len(view.targets) > 1,
        unit=view.unit,
        level=f"{100 * level:.4g}%",
        way="Wilson" if lone else f"Wilson, with the number of cases that those of the {view.owner}s are worth",
        recalibrated=WAYS.get(str(view.part("recipe", "evaluate").get("recalibrate"))),
        changes=_changes(view),
    )


def _changes(view: View) -> list[dict[str, Any]]:
    """Each number of probabilities before and after recalibration."""
    found = []
    for row in view.rows(group=NOT_RECALIBRATED):
        after = view.rows(metric=row["metric"], target=row.get("target"))
        if row.get("value") is None or not after or after[0].get("value") is None:
            continue
        named = text.title(text.metric(row["metric"]))
        several = len(view.targets) > 1 and row.get("target")
        found.append({"name": f"{named}, {row['target']}" if several else named, "before": row, "after": after[0]})
    return found


def _panel(view: View, number: int, target: str, level: float) -> dict:
    scores = view.scores(target)
    said = [r for r in view.rows(target=target) if r["metric"] in METRICS]
    if said and all(r.get("value") is None for r in said):
        return {"target": target, "reason": said[0].get("note")}
    if scores is None:
        return {"target": target, "reason": "no unit with a known label"}
    try:
        folds = [_bins(part, level) for part in scores.by_fold()]
    except Undefined as reason:
        return {"target": target, "reason": str(reason)}

    def paint(figure: Figure) -> None:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        top.plot([0, 1], [0, 1], color=svg.MUTED, lw=0.9, ls=(0, (1, 2)))
        for number, bins in enumerate(folds):
            _line(top, bins, MARKERS[number % len(MARKERS)], whiskers=len(folds) == 1)
        svg.unit_square(top, "", "Observed share")
        _histogram(below, scores)
        below.set_xlabel("Predicted probability")

    alt = "Calibration plot: " + "; ".join(
        f"predicted {b['probability']:.2f}, observed {b['row']['value']:.2f} in {b['row']['cases']}"
        for bins in folds
        for b in bins
    )
    return {
        "target": target,
        "reason": None,
        "figure": svg.draw(f"calibration{number}", alt, SIZE_IN, paint),
        "bins": folds[0] if len(folds) == 1 else None,
        "finding": finding(folds[0], view.unit) if len(folds) == 1 else None,
        "folds": len(folds),
    }


def finding(bins: list[dict[str, Any]], unit: str) -> str:
    """The bin in which predicted and observed risk are furthest apart, of those whose interval excludes the prediction;
    that none does, where it is so."""
    apart = [
        b for b in bins if b["row"]["low"] is not None and not b["row"]["low"] <= b["probability"] <= b["row"]["high"]
    ]
    if not apart:
        return "In no range of risks do predicted and observed risk lie further apart than chance allows."
    worst = max(apart, key=lambda b: abs(b["row"]["value"] - b["probability"]) * b["row"]["cases"])
    way = "low" if worst["row"]["value"] > worst["probability"] else "high"
    return (
        f"Risks from {100 * worst['low']:.0f}% to {100 * worst['high']:.0f}% were too {way}: predicted "
        f"{100 * worst['probability']:.0f}%, observed {100 * worst['row']['value']:.0f}% "
        f"({text.plural(worst['row']['cases'], unit)})."
    )


def _bins(scores: Scores, level: float) -> list[dict[str, Any]]:
    """Bins that hold a case, with edges, mean probability and the observed share with its interval."""
    bins = calibration.reliability(torch.from_numpy(scores.truth), torch.from_numpy(scores.score), BINS)
    place = calibration.bin_of(torch.from_numpy(scores.score), BINS).numpy()
    found = []
    for held, low, high, probability in zip(
        np.unique(place), bins.low.tolist(), bins.high.tolist(), bins.probability.tolist(), strict=True
    ):
        inside = place == held
        row = proportions.share(scores.truth == 1, inside, scores, level)
        found.append({"low": low, "high": high, "probability": probability, "row": row})
    return found


def _line(axes: Axes, bins: list[dict[str, Any]], marker: str, whiskers: bool) -> None:
    """One fold's bins; the area of a marker grows with its cases."""
    x, y = [b["probability"] for b in bins], [b["row"]["value"] for b in bins]
    for place, bin in zip(x, bins, strict=True):
        if whiskers and bin["row"]["low"] is not None:
            ends = [bin["row"]["low"], bin["row"]["high"]]
            axes.plot([place, place], ends, color=svg.BLUE, lw=1.3, alpha=0.55)
    total = sum(b["row"]["cases"] for b in bins)
    areas = [16 + 80 * b["row"]["cases"] / total for b in bins]
    axes.scatter(x, y, s=areas, marker=marker, color=svg.BLUE, edgecolor="white", lw=0.8, zorder=3)


def _histogram(axes: Axes, scores: Scores) -> None:
    """Positives upwards, negatives downwards."""
    edges = calibration.bin_edges(2 * BINS).numpy()
    place = calibration.bin_of(torch.from_numpy(scores.score), 2 * BINS).numpy()
    up, down = (np.bincount(place[scores.truth == value], minlength=2 * BINS) for value in (1, 0))
    width = 0.9 * (edges[1] - edges[0])
    centres = (edges[1:] + edges[:-1]) / 2
    axes.bar(centres, up, width, color=svg.BLUE)
    axes.bar(centres, -down, width, color="white", edgecolor=svg.VERMILION, lw=0.9, hatch="//////")
    axes.axhline(0, color=svg.MUTED, lw=0.7)
    most = max(1, int(max(up.max(), down.max())))
    axes.set(ylim=(-1.15 * most, 1.15 * most), yticks=[-most, 0, most], ylabel="Cases")
    axes.set_yticklabels([str(most), "0", str(most)])
    axes.grid(axis="x", visible=False)
