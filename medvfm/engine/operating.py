"""Operating points and recalibration: fitted on validation data, applied to test data as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from medvfm.core.errors import DataError, RecipeError, Undefined
from medvfm.core.metric_spec import MetricSpec
from medvfm.engine.evaluate import Thresholds
from medvfm.engine.scored import ScoreTable
from medvfm.metrics import calibration, ranking

DECISION = "decision"


def fix(val: ScoreTable | None, wanted: Sequence[MetricSpec]) -> dict[tuple[str, str], np.ndarray]:
    """(metric, target) to one threshold a fold.

    Metrics at a wanted specificity or sensitivity have their own. `decision`, for every other metric that needs one and
    for what `predict` decides, is that of the first such metric, or else where sensitivity + specificity is greatest
    (Youden 1950). NaN where the validation cases do not determine one.
    """
    if val is None:
        return {}
    assert val.fold is not None
    pointed = [w for w in wanted if w.metric.takes == "decision" and w.metric.parameter]
    found: dict[tuple[str, str], np.ndarray] = {}
    for column, target in enumerate(val.targets):
        for point in [*pointed, None]:
            name = DECISION if point is None else point.name
            rule = (pointed[0] if pointed else None) if point is None else point
            found[name, target] = np.array(
                [_threshold(val, column, val.fold == fold, rule) for fold in np.unique(val.fold)]
            )
    return found


def _threshold(val: ScoreTable, column: int, rows: np.ndarray, point: MetricSpec | None) -> float:
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


def fit_platt(val: ScoreTable | None) -> np.ndarray:
    """(folds, T, 2) slope and intercept of Platt's scaling for every target, fitted on each fold's validation cases."""
    if val is None:
        raise RecipeError("evaluate.recalibrate needs validation cases", remedy="give `split` a share for val")
    assert val.fold is not None
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


def recalibrated(scored: ScoreTable, platt: np.ndarray) -> ScoreTable:
    """The scores as probabilities by what `fit_platt` found."""
    slope, intercept = platt[scored.fold, :, 0], platt[scored.fold, :, 1]
    return scored.with_scores(1 / (1 + np.exp(-(slope * scored.scores + intercept))), True)


def as_record(thresholds: Thresholds, fixed_on: str = "val") -> dict[str, dict[str, dict[str, Any]]]:
    """target to metric to its threshold (a list with folds), for run.json."""
    record: dict[str, dict[str, dict[str, Any]]] = {}
    for (metric, target), values in thresholds.items():
        numbers = [float(v) if np.isfinite(v) else None for v in values]
        value = numbers[0] if len(numbers) == 1 else numbers
        record.setdefault(target, {})[metric] = {"threshold": value, "fixed_on": fixed_on}
    return record
