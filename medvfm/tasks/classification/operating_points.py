"""Operating points and recalibration: fitted on validation data, applied to test data as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.errors import DataError, RecipeError, Undefined
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Points
from medvfm.metrics import calibration, ranking
from medvfm.tasks.classification.scores import ScoreTable

DECISION = "decision"


def fix(val: ScoreTable | None, specs: Sequence[MetricSpec], recalibrate: bool) -> Points:
    """(metric, target) to one threshold a fold, and Platt's scaling where the recipe names it.

    Metrics at a given specificity or sensitivity have their own. `decision`, for every other metric that needs one and
    for what `predict` decides, is that of the first such metric, or else where sensitivity + specificity is greatest
    (Youden 1950). NaN where the validation cases do not determine one.
    """
    platt = _platt(val) if recalibrate else None
    if val is None:
        return Points()
    if platt is not None:
        val = recalibrated(val, platt)
    pointed = [s for s in specs if s.metric.takes == "decision" and s.metric.parameter]
    found: dict[tuple[str, str], Array] = {}
    for column, target in enumerate(val.targets):
        for point in [*pointed, None]:
            name = DECISION if point is None else point.name
            rule = (pointed[0] if pointed else None) if point is None else point
            found[name, target] = np.array(
                [_threshold(val, column, val.fold == fold, rule) for fold in np.unique(val.fold)]
            )
    return Points(found, platt)


def given(threshold: float | None, targets: Sequence[str], folds: int = 1) -> Points:
    """One threshold that a user states, for all targets and folds."""
    cuts = {} if threshold is None else {(DECISION, target): np.full(folds, threshold) for target in targets}
    return Points(cuts, None, "given")


def recalibrated(scored: ScoreTable, platt: Array) -> ScoreTable:
    """The scores as probabilities by Platt's scaling of their fold."""
    slope, intercept = platt[scored.fold, :, 0], platt[scored.fold, :, 1]
    return scored.with_scores(1 / (1 + np.exp(-(slope * scored.scores + intercept))), True)


def _threshold(val: ScoreTable, column: int, rows: Array, point: MetricSpec | None) -> float:
    known = rows & ~np.isnan(val.truth[:, column])
    truth = torch.as_tensor((val.truth[known, column] > 0.5).astype(np.int64))
    score = torch.as_tensor(val.scores[known, column])
    try:
        if point is None:
            return float(ranking.threshold_youden(truth, score))
        assert point.value is not None  # a metric with a parameter was parsed with its value
        if point.metric.parameter == "specificity":
            return float(ranking.threshold_at_specificity(truth, score, point.value))
        return float(ranking.threshold_at_sensitivity(truth, score, point.value))
    except Undefined:
        return float("nan")


def _platt(val: ScoreTable | None) -> Array:
    """(folds, T, 2) slope and intercept of Platt's scaling for every target, fitted on each fold's validation cases."""
    if val is None:
        raise RecipeError("evaluate.recalibrate needs validation cases", remedy="give `split` a share for val")
    found = []
    for fold in np.unique(val.fold):
        for column in range(len(val.targets)):
            rows = (val.fold == fold) & ~np.isnan(val.truth[:, column])
            truth = torch.as_tensor((val.truth[rows, column] > 0.5).astype(np.int64))
            try:
                found.append([float(v) for v in calibration.platt(truth, torch.as_tensor(val.scores[rows, column]))])
            except Undefined as reason:
                raise DataError(
                    f"{val.targets[column]} cannot be recalibrated on the validation cases: {reason}",
                    remedy="say evaluate.recalibrate=none, or give `split` more cases for val",
                ) from None
    return np.array(found).reshape(-1, len(val.targets), 2)
