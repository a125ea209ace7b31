"""Net benefit over thresholds of probability: is acting on the model better than acting on all, or on nobody?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from medvfm.metrics import clinical_use
from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import Scores, View

TITLE = "Decision curve"
MOST = 4
THRESHOLDS = np.linspace(0.01, 0.99, 99)
SIZE_IN = (4.6, 3.4)


def build(view: View) -> Markup | None:
    """Of probabilities alone: scores have no odds."""
    table = view.predictions
    if table is None or "probability" not in table or not table["probability"].all():
        return None
    panels = [_panel(view, number, target) for number, target in enumerate(view.targets[:MOST])]
    shown = [panel for panel in panels if panel is not None]
    return markup.fragment("decision_curve", panels=shown, several=len(view.targets) > 1) if shown else None


def _panel(view: View, number: int, target: str) -> dict[str, Any] | None:
    scores = view.scores(target)
    if scores is None or scores.score.min() < 0 or scores.score.max() > 1 or len(set(scores.truth.tolist())) < 2:
        return None
    own = curve(scores)
    share = float(np.mean([part.truth.mean() for part in scores.by_fold()]))
    everyone = np.array([clinical_use.net_benefit_of_all(share, t) for t in THRESHOLDS])
    better = THRESHOLDS[own > np.maximum(everyone, 0) + 1e-12]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=svg.MUTED, lw=0.9)
        axes.plot(THRESHOLDS, everyone, color=svg.VERMILION, lw=1.3, ls=(0, (5, 2)))
        axes.plot(THRESHOLDS, own, color=svg.BLUE, lw=1.8)
        axes.set(xlim=(0, 1), ylim=(-0.25 * share, 1.08 * share), xlabel="Threshold of probability")
        axes.set_ylabel("Net benefit")

    where = f"{len(better)} of {len(THRESHOLDS)} thresholds"
    alt = f"Decision curve of {target}: above acting on all and on nobody at {where}"
    return {
        "target": target,
        "figure": svg.draw(f"decision-{number}", alt, SIZE_IN, paint),
        "share": text.number(share),
        "above": _spans(better),
    }


def curve(scores: Scores) -> np.ndarray:
    """(99,) net benefit at each threshold, the mean over folds."""
    parts = []
    for part in scores.by_fold():
        truth, score = torch.as_tensor(part.truth), torch.as_tensor(part.score)
        parts.append([float(clinical_use.net_benefit(truth, score, float(t))) for t in THRESHOLDS])
    return np.mean(parts, axis=0)


def _spans(thresholds: np.ndarray) -> str:
    """`0.08 to 0.61`, `0.1 to 0.3 and 0.5 to 0.6`; empty for none."""
    if not len(thresholds):
        return ""
    parts = np.split(thresholds, np.flatnonzero(np.diff(thresholds) > 0.015) + 1)
    return text.listed([f"{p[0]:.2g} to {p[-1]:.2g}" if len(p) > 1 else f"{p[0]:.2g}" for p in parts])
