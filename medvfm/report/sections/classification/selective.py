"""Leaving the doubtful cases to a human: errors among those that are kept, and sets of classes that hold the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from medvfm.report import markup, proportions, text
from medvfm.report.charts import svg
from medvfm.report.run_view import Scores, View
from medvfm.report.sections.classification.decision_curve import are_probabilities
from medvfm.report.sections.classification.operating import EXCLUSIVE

TITLE = "Selective prediction"
COVERAGES = (0.8, 0.9, 0.95)
SHARES = (1.0, 0.9, 0.75, 0.5)  # of the cases, that are kept
LEAST = 20  # validation units that a set can rest on
SIZE_IN = (4.6, 2.9)


def build(view: View) -> Markup | None:
    """Of one yes-or-no question with probabilities, one split and validation cases."""
    if len(view.targets) != 1 or view.task.get("kind") in EXCLUSIVE or not are_probabilities(view):
        return None
    target = view.targets[0]
    scores, val = view.scores(target), _validation(view, target)
    cut = view.part("thresholds", target, "decision").get("threshold")
    if scores is None or len(np.unique(scores.fold)) > 1 or not isinstance(cut, int | float):
        return None
    kept, risk = risk_coverage(scores, float(cut))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(kept, risk, color=svg.BLUE, lw=1.8)
        axes.axhline(risk[-1], color=svg.MUTED, lw=1, ls=(0, (1, 2)))
        axes.set(xlim=(0, 1), ylim=(0, max(0.02, 1.15 * float(risk.max()))))
        axes.set(xlabel="Share of cases that the model decides", ylabel="Wrong among them")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    said = _said(kept, risk)
    return markup.fragment(
        "selective",
        figure=svg.draw("selective", f"Errors against the share of cases decided: {said}", SIZE_IN, paint),
        said=said,
        sets=[_sets(scores, val, wanted, view.level) for wanted in COVERAGES] if val is not None else [],
        least=LEAST,
        unit=view.unit,
        name=text.structure(target),
        level=f"{100 * view.level:.4g}%",
    )


def risk_coverage(scores: Scores, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """(n,) shares of cases kept, the surest first, and (n,) shares of wrong decisions among them (El-Yaniv and Wiener
    2010). A case is as sure as its probability lies far from the threshold, each side by its own width."""
    far = np.where(
        scores.score >= cut, (scores.score - cut) / max(1 - cut, 1e-12), (cut - scores.score) / max(cut, 1e-12)
    )
    order = np.argsort(-far, kind="stable")
    wrong = ((scores.score >= cut) != (scores.truth == 1))[order]
    count = np.arange(1, len(wrong) + 1)
    return count / len(wrong), np.cumsum(wrong) / count


def conformal_bound(truth: np.ndarray, probability: np.ndarray, coverage: float) -> float:
    """The greatest 1 - p of a class that a set still holds: split conformal prediction on validation cases, whose
    score is 1 less the probability of the true class (Sadinle, Lei and Wasserman 2019; Vovk et al. 2005)."""
    score = np.sort(np.where(truth == 1, 1 - probability, probability))
    place = math.ceil((len(score) + 1) * coverage)
    return 1.0 if place > len(score) else float(score[place - 1])


def _validation(view: View, target: str) -> tuple[np.ndarray, np.ndarray] | None:
    assert view.predictions is not None
    table = view.predictions
    rows = table[(table["split"] == "val") & (table["target"] == target) & table["truth"].notna()]
    if len(rows) < LEAST:
        return None
    return (rows["truth"].to_numpy(float) > 0.5).astype(int), rows["score"].to_numpy(float)


def _sets(scores: Scores, val: tuple[np.ndarray, np.ndarray], wanted: float, level: float) -> dict[str, Any]:
    """What sets of this coverage hold of the test cases."""
    bound = conformal_bound(*val, wanted)
    yes, no = 1 - scores.score <= bound, scores.score <= bound
    held = np.where(scores.truth == 1, yes, no)
    everyone = np.ones(len(held), bool)
    return {
        "wanted": f"{100 * wanted:.0f}%",
        "coverage": proportions.share(held, everyone, scores, level),
        "positives": proportions.share(held, scores.truth == 1, scores, level),
        "negatives": proportions.share(held, scores.truth == 0, scores, level),
        "one": proportions.share(yes != no, everyone, scores, level),
        "both": int((yes & no).sum()),
        "none": int((~yes & ~no).sum()),
    }


def _said(kept: np.ndarray, risk: np.ndarray) -> str:
    """`with 100% decided 18% are wrong, with 75% 11%`."""
    parts: list[str] = []
    for share in SHARES:
        place = max(1, math.ceil(share * len(kept))) - 1
        decided = "decided " if not parts else ""
        parts.append(f"with {100 * share:.0f}% {decided}{100 * risk[place]:.0f}%{' are wrong' if not parts else ''}")
    return text.listed(parts)
