"""Net benefit of acting on the model, beside treating everyone and no one."""

from __future__ import annotations

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from medvfm.metrics import clinical_use
from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import Scores, View
from medvfm.report.sections.classification.operating import EXCLUSIVE

TITLE = "Decision curve"
MOST = 4  # targets that are drawn
THRESHOLDS = np.arange(1, 100) / 100
SIZE_IN = (5.4, 3.1)


def build(view: View) -> Markup | None:
    if view.task.get("kind") in EXCLUSIVE or not are_probabilities(view):
        return None
    panels = [panel for n, t in enumerate(view.targets[:MOST]) if (panel := _panel(view, n, t)) is not None]
    return markup.fragment("decision_curve", panels=panels, several=len(view.targets) > 1) if panels else None


def net_benefit(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """(k,) of acting from each threshold on, the mean over folds."""
    parts = [(torch.as_tensor(part.truth), torch.as_tensor(part.score)) for part in scores.by_fold()]
    each = [[float(clinical_use.net_benefit(truth, score, t)) for t in thresholds.tolist()] for truth, score in parts]
    return np.mean(each, axis=0)


def treat_all(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """(k,) the same where everyone is treated."""
    share = float(np.mean([part.truth.mean() for part in scores.by_fold()]))
    return np.array([clinical_use.net_benefit_of_all(share, t) for t in thresholds.tolist()])


def are_probabilities(view: View) -> bool:
    """Whether all scores are said to be probabilities."""
    if view.predictions is None:
        return False
    said = view.predictions.get("probability")
    undefined = any(r["metric"] == "brier" and r.get("value") is None for r in view.rows())
    return not undefined and (said is None or bool(said.astype(bool).all()))


def _panel(view: View, number: int, target: str) -> dict | None:
    scores = view.scores(target)
    if scores is None or not 0 < scores.truth.mean() < 1 or not ((scores.score >= 0) & (scores.score <= 1)).all():
        return None
    model, everyone = net_benefit(scores, THRESHOLDS), treat_all(scores, THRESHOLDS)
    better = model > np.maximum(everyone, 0) + 1e-12
    share = float(scores.truth.mean())

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=svg.MUTED, lw=1.1, ls=(0, (1, 2)))
        axes.plot(THRESHOLDS, everyone, color=svg.VERMILION, lw=1.4, ls=(0, (5, 2)))
        axes.plot(THRESHOLDS, model, color=svg.BLUE, lw=2)
        axes.set(xlim=(0, 1), ylim=(-0.25 * share, 1.08 * share))
        axes.set(xlabel="Threshold probability: risk from which one would act", ylabel="Net benefit")

    return {
        "target": text.structure(target),
        "figure": svg.draw(f"decision{number}", f"Decision curve: {_said(better)}", SIZE_IN, paint),
        "said": _said(better),
    }


def _said(better: np.ndarray) -> str:
    """Where the model does better than both, as the longest range of thresholds."""
    if not better.any():
        return "At no threshold is acting on the model better than treating everyone or no one."
    edges = np.flatnonzero(np.diff(np.concatenate([[False], better, [False]]).astype(int)))
    begin, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda pair: pair[1] - pair[0])
    low, high = (round(100 * THRESHOLDS[n]) for n in (begin, end - 1))
    return (
        f"Acting on the model has a greater net benefit than treating everyone or no one at thresholds from {low}% to "
        f"{high}%."
    )
