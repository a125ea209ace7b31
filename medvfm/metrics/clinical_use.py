"""What decisions are worth where they are used: predictive values at another prevalence, and net benefit.

Truth (n,) of 0/1 first; decision (n,) of 0/1, or probability (n,) in [0, 1], second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvfm.core.errors import MedvfmError, PredictionError, Undefined
from medvfm.core.metric_spec import Metric
from medvfm.metrics.decision import sensitivity, specificity
from medvfm.metrics.weighted import check_binary, check_cases, over_resamples


def ppv_at_prevalence(truth: Tensor, decision: Tensor, prevalence: float, *, weights: Tensor | None = None) -> Tensor:
    """Share of true positives among the positive decisions where `prevalence` of the cases have the finding.

    By Bayes' rule from sensitivity and specificity, which are taken not to change with the prevalence. Undefined
    without positives or negatives, and where no case is called positive.
    """
    _check_share("prevalence", prevalence)
    found = sensitivity(truth, decision, weights=weights) * prevalence
    false = (1 - specificity(truth, decision, weights=weights)) * (1 - prevalence)
    return _share(found, false, weights, "no case was called positive")


def npv_at_prevalence(truth: Tensor, decision: Tensor, prevalence: float, *, weights: Tensor | None = None) -> Tensor:
    """Share of true negatives among the negative decisions where `prevalence` of the cases have the finding."""
    _check_share("prevalence", prevalence)
    found = specificity(truth, decision, weights=weights) * (1 - prevalence)
    missed = (1 - sensitivity(truth, decision, weights=weights)) * prevalence
    return _share(found, missed, weights, "no case was called negative")


def net_benefit(truth: Tensor, probability: Tensor, threshold: float, *, weights: Tensor | None = None) -> Tensor:
    """True positives a case, less false positives a case weighed by the odds of the threshold.

    Vickers and Elkin 2006 (Medical Decision Making 26, 565): who acts from a probability of 0.2 on holds one false
    alarm for 0.2 / 0.8 of a case found. Acting on nobody has 0; acting on all is to be beaten too.
    """
    _check_share("threshold", threshold)
    check_cases(truth, probability)
    check_binary("labels", truth)
    if probability.ndim != 1:
        raise PredictionError(f"scores {tuple(probability.shape)}: expected one a case")
    low, high = float(probability.min()), float(probability.max())
    if low < 0 or high > 1:
        raise Undefined(f"scores from {low:.4g} to {high:.4g} are no probabilities")
    positive = truth.to(torch.float64)
    worth = (probability >= threshold) * (positive - (1 - positive) * threshold / (1 - threshold))
    return over_resamples(lambda counts: counts @ worth / counts.sum(1), worth, weights, lambda: "no cases")


def net_benefit_of_all(prevalence: float, threshold: float) -> float:
    """Of acting on every case."""
    return prevalence - (1 - prevalence) * threshold / (1 - threshold)


def _share(found: Tensor, other: Tensor, weights: Tensor | None, reason: str) -> Tensor:
    value = found / (found + other)
    if weights is None and bool(torch.isnan(value)):
        raise Undefined(reason)
    return value


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise MedvfmError(f"{name}={value:g} is not between 0 and 1")


UNIT = (0.0, 1.0)
METRICS: dict[str, Metric] = {
    "ppv@prevalence": Metric(
        ppv_at_prevalence,
        "decision",
        "higher",
        parameter="prevalence",
        summary="positive predictive value where the finding has another prevalence",
        within=UNIT,
        rests_on="classes",
    ),
    "npv@prevalence": Metric(
        npv_at_prevalence,
        "decision",
        "higher",
        parameter="prevalence",
        summary="negative predictive value where the finding has another prevalence",
        within=UNIT,
        rests_on="classes",
    ),
    "net_benefit@threshold": Metric(
        net_benefit,
        "probability",
        "higher",
        parameter="threshold",
        summary="true positives a case less false ones weighed by the odds of a threshold of probability",
    ),
}
