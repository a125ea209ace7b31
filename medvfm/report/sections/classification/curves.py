"""ROC and precision-recall curves with bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medvfm.report import markup, sentences, text
from medvfm.report.charts import curve_bands, svg
from medvfm.report.run_view import Scores, View

TITLE = "Discrimination"
MOST = 8  # targets that are drawn; the table of all numbers holds the others
SIZE_IN = (4.3, 3.9)


def build(view: View) -> Markup | None:
    if not view.targets:
        return None
    level = view.level
    best = sentences.best_baseline(view)
    baseline = None if best is None else str(best["baseline"])
    panels = [_panel(view, number, target, baseline, level) for number, target in enumerate(view.targets[:MOST])]
    folds = max((len(np.unique(s.fold)) for t in view.targets if (s := view.scores(t)) is not None), default=1)
    return markup.fragment(
        "curves",
        panels=panels,
        baseline=None if baseline is None else view.baseline(baseline),
        level=f"{100 * level:.4g}%",
        owner=view.owner,
        resamples=curve_bands.RESAMPLES,
        left=len(view.targets) - len(panels),
        folds=folds,
        points=any(p.get("points") for p in panels),
    )


def _panel(view: View, number: int, target: str, baseline: str | None, level: float) -> dict:
    scores = view.scores(target)
    reason = curve_bands.defined(scores)
    if reason is not None or scores is None:
        return {"target": target, "reason": reason}
    other = view.scores(target, baseline) if baseline else None
    if curve_bands.defined(other) is not None:
        other = None
    positives = int(scores.truth.sum())
    points = _operating_points(view, target, scores)
    auroc, auprc = (next(iter(view.rows(metric=m, target=target)), None) for m in ("auroc", "auprc"))
    roc, pr = curve_bands.roc(scores, level), curve_bands.precision_recall(scores, level)

    def paint_roc(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=svg.MUTED, lw=0.9, ls=(0, (1, 2)))
        _paint(axes, roc, None if other is None else curve_bands.roc(other, level, band=False))
        for x, y in points:
            axes.plot(x, y, marker="D", ms=6, mfc="white", mec=svg.INK, mew=1.3, ls="none", zorder=5)
        svg.unit_square(axes, "1 − specificity", "Sensitivity")

    def paint_pr(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(positives / len(scores.truth), color=svg.MUTED, lw=0.9, ls=(0, (1, 2)))
        _paint(axes, pr, None if other is None else curve_bands.precision_recall(other, level, band=False), steps=True)
        svg.unit_square(axes, "Recall (sensitivity)", "Precision (positive predictive value)")

    said = "" if auroc is None else f" AUROC {text.with_interval(auroc)}."
    said_pr = "" if auprc is None else f" Average precision {text.with_interval(auprc)}."
    return {
        "target": target,
        "reason": None,
        "positives": positives,
        "negatives": len(scores.truth) - positives,
        "roc": svg.draw(f"roc{number}", f"ROC curve of the model with its band.{said}", SIZE_IN, paint_roc),
        "pr": svg.draw(f"pr{number}", f"Precision-recall curve with its band.{said_pr}", SIZE_IN, paint_pr),
        "auroc": auroc,
        "auprc": auprc,
        "points": len(points),
        "band": roc.low is not None,
        "other": other is not None,
    }


def _paint(axes: Axes, curve: curve_bands.Curve, other: curve_bands.Curve | None, steps: bool = False) -> None:
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            curve.grid, curve.low, curve.high, color=svg.BLUE, alpha=0.16, lw=0, step="pre" if steps else None
        )
    style: dict[str, Any] = {"drawstyle": "steps-pre" if steps else "default"}
    for fold in curve.folds:
        axes.plot(curve.grid, fold, color=svg.BLUE, lw=0.7, alpha=0.45, **style)
    if other is not None:
        axes.plot(other.x, other.y, color=svg.VERMILION, lw=1.3, ls=(0, (5, 2)), **style)
    axes.plot(curve.x, curve.y, color=svg.BLUE, lw=2, **style)


def _operating_points(view: View, target: str, scores: Scores) -> list[tuple[float, float]]:
    """(1 - specificity, sensitivity) that thresholds from validation data achieve here; not drawn for folds."""
    if len(np.unique(scores.fold)) > 1:
        return []
    found = []
    for entry in view.part("thresholds", target).values():
        cut = entry.get("threshold")
        if isinstance(cut, int | float):
            called = scores.score >= cut
            found.append((float(called[scores.truth == 0].mean()), float(called[scores.truth == 1].mean())))
    return list(dict.fromkeys(found))
