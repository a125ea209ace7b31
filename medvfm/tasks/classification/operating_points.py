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
GIVEN = "the threshold given"
RECALIBRATED = "recalibrated on validation data"
LEFT = (
    "not recalibrated: on the validation cases a higher score of {} does not go with more positives, and the scaling "
    "would turn the order of the scores round"
)


def fix(
    val: ScoreTable | None, specs: Sequence[MetricSpec], recalibrate: bool, decide_at: str | float = "youden"
) -> Points:
    """(metric, target) to one threshold a fold, and Platt's scaling where the recipe names it.

    Metrics at a given specificity or sensitivity have their own. `decision`, for every other metric that needs one and
    for what `predict` decides, is where `decide_at` says, whatever other metrics there are: `youden`, where sensitivity
    + specificity is greatest (Youden 1950), `f1`, `specificity=...`, `sensitivity=...`, or a number that is taken as it
    is. NaN where the validation cases do not determine one.
    """
    platt, left = _platt(val) if recalibrate else (None, "")
    if val is None:
        return given(decide_at, ()) if isinstance(decide_at, float) else Points()
    if platt is not None:
        val = recalibrated(val, platt)
    pointed = [s for s in specs if has_own_threshold(s)]
    found: dict[tuple[str, str], Array] = {}
    for column, target in enumerate(val.targets):
        for point in [*pointed, None]:
            name = DECISION if point is None else point.name
            rule = decide_at if point is None else f"{point.metric.parameter}={point.value}"
            found[name, target] = np.array(
                [_threshold(val, column, val.fold == fold, rule) for fold in np.unique(val.fold)]
            )
    return Points(found, platt, decided_at=_words(decide_at), left_as_they_are=left)


def has_own_threshold(spec: MetricSpec) -> bool:
    """The metric names a point of the curve, such as a specificity, whose threshold is fixed on validation data."""
    return spec.metric.takes == "decision" and spec.metric.parameter in ("sensitivity", "specificity")


def given(threshold: float | None, targets: Sequence[str], folds: int = 1) -> Points:
    """One threshold that a user states, for all targets and folds."""
    cuts = {} if threshold is None else {(DECISION, target): np.full(folds, threshold) for target in targets}
    return Points(cuts, None, "given", decided_at=GIVEN)


def _words(decide_at: str | float) -> str:
    """`the threshold of specificity 0.9 on validation data`."""
    if isinstance(decide_at, float):
        return GIVEN
    named = {"youden": "the greatest sensitivity + specificity", "f1": "the greatest F1"}
    return f"the threshold of {named.get(decide_at, decide_at.replace('=', ' '))} on validation data"


def recalibrated(scored: ScoreTable, platt: Array) -> ScoreTable:
    """The scores as probabilities by Platt's scaling of their fold."""
    slope, intercept = platt[scored.fold, :, 0], platt[scored.fold, :, 1]
    return scored.with_scores(1 / (1 + np.exp(-(slope * scored.scores + intercept))), True)


def _threshold(val: ScoreTable, column: int, rows: Array, rule: str | float) -> float:
    if isinstance(rule, float):
        return rule
    known = rows & ~np.isnan(val.truth[:, column])
    truth = torch.as_tensor((val.truth[known, column] > 0.5).astype(np.int64))
    score = torch.as_tensor(val.scores[known, column])
    name, _, wanted = rule.partition("=")
    try:
        if name == "youden":
            return float(ranking.threshold_youden(truth, score))
        if name == "f1":
            return float(ranking.threshold_f1(truth, score))
        if name == "specificity":
            return float(ranking.threshold_at_specificity(truth, score, float(wanted)))
        return float(ranking.threshold_at_sensitivity(truth, score, float(wanted)))
    except Undefined:
        return float("nan")


def _platt(val: ScoreTable | None) -> tuple[Array | None, str]:
    """(folds, T, 2) slope and intercept of Platt's scaling for every target, fitted on each fold's validation cases.

    None, and why, where a slope is not above 0: scaling would turn the order of the scores round. A score that is the
    same for every case has no order, and gets the rate of the positives.
    """
    if val is None:
        raise RecipeError("evaluate.recalibrate needs validation cases", remedy="give `split` a share for val")
    found, falling = [], []
    for fold in np.unique(val.fold):
        for column, target in enumerate(val.targets):
            rows = (val.fold == fold) & ~np.isnan(val.truth[:, column])
            truth = torch.as_tensor((val.truth[rows, column] > 0.5).astype(np.int64))
            score = torch.as_tensor(val.scores[rows, column])
            try:
                slope, intercept = calibration.platt(truth, score)
            except Undefined as reason:
                raise DataError(
                    f"{target} cannot be recalibrated on the validation cases: {reason}",
                    remedy="say evaluate.recalibrate=none, or give `split` more cases for val",
                ) from None
            found.append([slope, intercept])
            if slope <= 0 and bool((score != score[0]).any()):
                falling.append(target)
    if falling:
        return None, LEFT.format(", ".join(dict.fromkeys(falling)))
    return np.array(found).reshape(-1, len(val.targets), 2), ""
