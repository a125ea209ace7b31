"""Operating points and recalibration: fitted on validation data, applied to test data as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Points
from medvfm.metrics import ranking
from medvfm.tasks.classification import recalibration
from medvfm.tasks.classification.scores import ScoreTable

DECISION = "decision"
GIVEN = "the threshold given"
RECALIBRATED = "recalibrated on validation data"


def fix(
    val: ScoreTable | None,
    specs: Sequence[MetricSpec],
    recalibrate: str,
    decide_at: str | float = "youden",
    *,
    exclusive: bool = False,
) -> Points:
    """(metric, target) to one threshold a fold, and the recalibration that the recipe names. exclusive: of the classes
    exactly one is right.

    Metrics at a given specificity or sensitivity have their own. `decision`, for every other metric that needs one and
    for what `predict` decides, is where `decide_at` says, whatever other metrics there are: `youden`, where sensitivity
    + specificity is greatest (Youden 1950), `f1`, `specificity=...`, `sensitivity=...`, or a number that is taken as it
    is. NaN where the validation cases do not determine one.
    """
    scaling, left = (None, "") if recalibrate == "none" else recalibration.fit(val, recalibrate, exclusive)
    if val is None:
        return given(decide_at, ()) if isinstance(decide_at, float) else Points()
    if scaling is not None:
        val = recalibration.adjusted(val, scaling, exclusive)
    pointed = [s for s in specs if has_own_threshold(s)]
    found: dict[tuple[str, str], Array] = {}
    for column, target in enumerate(val.targets):
        for point in [*pointed, None]:
            name = DECISION if point is None else point.name
            rule = decide_at if point is None else f"{point.metric.parameter}={point.value}"
            found[name, target] = np.array(
                [_threshold(val, column, val.fold == fold, rule) for fold in np.unique(val.fold)]
            )
    return Points(found, scaling, decided_at=_words(decide_at), left_as_they_are=left)


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
