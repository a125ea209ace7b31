"""ROC and precision-recall curves of a target, with a pointwise band from resampled patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from medvfm.core.errors import Undefined
from medvfm.metrics import ranking
from medvfm.report.run_view import Scores
from medvfm.statistics.bootstrap import bootstrap_draws

RESAMPLES = 500
SEED = 0
FPR = np.linspace(0, 1, 101)
RECALL = np.linspace(0.01, 1, 100)
OnGrid = Callable[..., torch.Tensor]


@dataclass(frozen=True, eq=False)
class Curve:
    """The curve as points (p,), and its band on a grid (m,); folds has a curve (m,) a fold where there are several."""

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    folds: tuple[np.ndarray, ...] = ()


def roc(scores: Scores, level: float, band: bool = True) -> Curve:
    """False positive rate and sensitivity. Raises Undefined for one class only."""

    def points(truth: torch.Tensor, score: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        curve = ranking.roc_curve(truth, score)
        return curve.fpr.numpy(), curve.tpr.numpy()

    return _curve(scores, level, band, FPR, ranking.roc_on_grid, points)


def precision_recall(scores: Scores, level: float, band: bool = True) -> Curve:
    """Recall and precision, to be drawn as steps that end at each point. Raises Undefined for one class only."""

    def points(truth: torch.Tensor, score: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        curve = ranking.precision_recall_curve(truth, score)
        precision, recall = curve.precision.numpy(), curve.recall.numpy()
        return np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision])

    return _curve(scores, level, band, RECALL, ranking.precision_on_grid, points)


def _curve(
    scores: Scores,
    level: float,
    band: bool,
    grid: np.ndarray,
    on_grid: OnGrid,
    points: Callable[[torch.Tensor, torch.Tensor], tuple[np.ndarray, np.ndarray]],
) -> Curve:
    """Scores of different folds are never pooled: with folds, the curve is the mean of theirs at each grid value."""
    at = torch.from_numpy(grid)
    rows = [np.flatnonzero(scores.fold == f) for f in np.unique(scores.fold)]
    parts = [(r, torch.from_numpy(scores.truth[r]), torch.from_numpy(scores.score[r])) for r in rows]
    each = tuple(on_grid(truth, score, at).numpy() for _, truth, score in parts)
    low = high = None
    if band:

        def statistic(weights: np.ndarray) -> np.ndarray:
            drawn = [on_grid(t, s, at, weights=torch.from_numpy(weights[:, r])).numpy() for r, t, s in parts]
            return np.mean(drawn, axis=0)

        low, high = _quantiles(statistic, scores, level)
    if len(parts) > 1:
        return Curve(grid, np.mean(each, axis=0), grid, low, high, each)
    return Curve(*points(*parts[0][1:]), grid, low, high)


def _quantiles(
    statistic: Callable[[np.ndarray], np.ndarray], scores: Scores, level: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Pointwise (m,) ends, or None where too few resamples hold both classes."""
    if len(set(scores.patients.tolist())) < 2:
        return None, None
    draws = bootstrap_draws(statistic, scores.patients, resamples=RESAMPLES, seed=SEED)
    draws = draws[~np.isnan(draws).any(axis=1)]
    if len(draws) < RESAMPLES / 2:
        return None, None
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def defined(scores: Scores | None) -> str | None:
    """Why a curve does not exist, or None where it does."""
    if scores is None:
        return "no unit with a known label"
    try:
        for part in scores.by_fold():
            ranking.roc_curve(torch.from_numpy(part.truth), torch.from_numpy(part.score))
    except Undefined as reason:
        return str(reason)
    return None
