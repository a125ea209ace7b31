"""Ranking: how well scores separate positives from negatives, and thresholds chosen from them.

Scores are any real numbers, higher for more likely; only their order counts. Equal scores are equal: every number here
is exact with ties and does not depend on the order of the cases. A decision is score >= threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError, Undefined
from medvfm.core.metric_spec import Metric
from medvfm.metrics.weighted import balance, check_binary, check_cases, check_classes, check_fraction, over_resamples

Counted = Callable[[Tensor], tuple[Tensor, Tensor]]
UNIT = (0.0, 1.0)


def auroc(truth: Tensor, score: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Probability that a positive scores above a negative, ties counted half (Hanley and McNeil 1982).

    truth (n,) of 0/1, score (n,), weights (R, n) counts. Undefined for one class only; 0.5 for a constant score.
    """
    order, ends = _order(truth, score)
    positive = truth[order].to(torch.float64)

    def value(counts: Tensor) -> Tensor:
        counts = counts.index_select(1, order)
        tp = counts * positive
        fp, above = counts - tp, tp.cumsum(1)  # whole numbers below 2**53: exact in float64
        whole = above[:, -1] * fp.sum(1)
        if len(ends) == len(order):  # without ties a negative has no positive beside it
            return torch.einsum("rn,rn->r", fp, above) / whole
        return _area(above[:, ends], fp.cumsum(1)[:, ends])

    return over_resamples(value, truth, weights, lambda: balance(truth))


def auprc(truth: Tensor, score: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Average precision: the sum over thresholds of precision times the step in recall, nothing interpolated.

    As scikit-learn's average_precision_score. Undefined for one class only: without negatives it would be 1 by itself.
    """
    return _read(_average_precision, truth, score, weights)


def roc_sensitivity(truth: Tensor, score: Tensor, specificity: float, *, weights: Tensor | None = None) -> Tensor:
    """Greatest sensitivity of any threshold whose specificity on these very cases is at least the one wanted.

    The threshold is chosen on the cases that it is judged on, so this describes the curve and flatters the model as a
    decision; `sensitivity@specificity` has its threshold from validation data. Nothing is interpolated.
    """
    check_fraction("specificity", specificity)
    return _read(
        lambda tp, fp: _rate(_greatest(tp, _rate(fp[:, -1:] - fp, fp[:, -1:]) >= specificity), tp[:, -1], fp[:, -1]),
        truth,
        score,
        weights,
    )


def roc_specificity(truth: Tensor, score: Tensor, sensitivity: float, *, weights: Tensor | None = None) -> Tensor:
    """Greatest specificity of any threshold whose sensitivity on these very cases is at least the one wanted."""
    check_fraction("sensitivity", sensitivity)
    return _read(
        lambda tp, fp: _rate(_greatest(fp[:, -1:] - fp, _rate(tp, tp[:, -1:]) >= sensitivity), fp[:, -1], tp[:, -1]),
        truth,
        score,
        weights,
    )


def macro_auroc(truth: Tensor, score: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean over classes of AUROC, each class against the rest. truth (n,) class index, score (n, C).

    Undefined, naming the class, where a class has no case or all of them.
    """
    return _macro(auroc, truth, score, weights)


def macro_auprc(truth: Tensor, score: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean over classes of average precision, each class against the rest; undefined as macro_auroc."""
    return _macro(auprc, truth, score, weights)


class RocCurve(NamedTuple):
    """Points from the highest threshold down; the first is threshold inf, where nobody is called positive."""

    fpr: Tensor
    tpr: Tensor
    thresholds: Tensor


def roc_curve(truth: Tensor, score: Tensor) -> RocCurve:
    """The point of every distinct score, none left out."""
    tp, fp, thresholds = _points(truth, score)
    return RocCurve(fp / fp[-1], tp / tp[-1], thresholds)


class PrecisionRecallCurve(NamedTuple):
    """Points from the highest threshold down. No point is added at recall 0, where precision does not exist."""

    precision: Tensor
    recall: Tensor
    thresholds: Tensor


def precision_recall_curve(truth: Tensor, score: Tensor) -> PrecisionRecallCurve:
    """The point of every distinct score, none left out."""
    tp, fp, thresholds = (points[1:] for points in _points(truth, score))
    return PrecisionRecallCurve(tp / (tp + fp), tp / tp[-1], thresholds)


def roc_on_grid(truth: Tensor, score: Tensor, fpr: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Sensitivity at false positive rates (m,): (m,), or (R, m) for bands. The ROC curve as steps."""

    def read(tp: Tensor, fp: Tensor) -> Tensor:
        points = torch.searchsorted(_rate(fp, fp[:, -1:]), fpr.to(fp).expand(len(fp), -1).contiguous(), right=True)
        sensitivity = torch.cat([torch.zeros_like(tp[:, :1]), tp], 1).gather(1, points)
        return _rate(sensitivity, tp[:, -1:], fp[:, -1:])

    return _read(read, truth, score, weights)


def precision_on_grid(truth: Tensor, score: Tensor, recall: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Precision at the highest threshold that reaches recalls (m,) in (0, 1]: (m,), or (R, m) for bands."""

    def read(tp: Tensor, fp: Tensor) -> Tensor:
        points = torch.searchsorted(_rate(tp, tp[:, -1:]), recall.to(tp).expand(len(tp), -1).contiguous())
        points = points.clamp(max=tp.shape[1] - 1)  # without a positive no recall is reached; NaN below
        return (tp / (tp + fp)).gather(1, points).where((tp[:, -1:] > 0) & (fp[:, -1:] > 0), torch.nan)

    return _read(read, truth, score, weights)


def threshold_at_specificity(truth: Tensor, score: Tensor, specificity: float) -> float:
    """The threshold with the greatest sensitivity among those whose specificity is at least the one wanted.

    Of equals, the one with the greatest specificity. Where even the highest score is shared by too many negatives no
    case may be called positive, and the threshold is inf. The result is one of the scores, or inf.
    """
    check_fraction("specificity", specificity)
    tp, fp, thresholds = _points(truth, score)
    tp = tp.where((fp[-1] - fp) / fp[-1] >= specificity, -1)
    return float(thresholds[(tp == tp.max()).nonzero()[0, 0]])


def threshold_at_sensitivity(truth: Tensor, score: Tensor, sensitivity: float) -> float:
    """The threshold with the greatest specificity among those whose sensitivity is at least the one wanted.

    Of equals, the one with the greatest sensitivity. One exists always: at the lowest score everyone is positive.
    """
    check_fraction("sensitivity", sensitivity)
    tp, fp, thresholds = _points(truth, score)
    allowed = (tp / tp[-1] >= sensitivity).nonzero()[:, 0]
    return float(thresholds[(fp == fp[allowed].min()).nonzero()[-1, 0]])


def threshold_youden(truth: Tensor, score: Tensor) -> float:
    """Where sensitivity + specificity is greatest (Youden 1950); of equals, the one with the greatest sensitivity."""
    tp, fp, thresholds = _points(truth, score)
    gain = tp * fp[-1] - fp * tp[-1]  # whole numbers: equal gains compare equal
    return float(thresholds[(gain == gain.max()).nonzero()[-1, 0]])


def threshold_f1(truth: Tensor, score: Tensor) -> float:
    """Where F1 is greatest; of equals, the one with the greatest sensitivity."""
    tp, fp, thresholds = _points(truth, score)
    f1 = 2 * tp / (tp + fp + tp[-1])
    return float(thresholds[(f1 == f1.max()).nonzero()[-1, 0]])


def _ranked(truth: Tensor, score: Tensor) -> tuple[Counted, Tensor]:
    """(counts (r, n) -> true and false positives (r, G) at each distinct score from the highest down, those scores)."""
    order, ends = _order(truth, score)
    positive = truth[order].to(torch.float64)

    def counted(weights: Tensor) -> tuple[Tensor, Tensor]:
        weights = weights.index_select(1, order)
        tp, called = (weights * positive).cumsum(1), weights.cumsum(1)  # whole numbers below 2**53: exact in float64
        if len(ends) < len(order):  # with ties
            tp, called = tp[:, ends], called[:, ends]
        return tp, called - tp

    return counted, score[order[ends]]


def _order(truth: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) rows from the highest score down, and (G,) the last place of each distinct score among them."""
    check_cases(truth, score)
    check_binary("labels", truth)
    if score.ndim != 1:
        raise PredictionError(f"scores {tuple(score.shape)}: expected one a case")
    sorted_score, order = torch.sort(score, descending=True)
    last = torch.ones_like(order, dtype=torch.bool)
    last[:-1] = sorted_score[1:] != sorted_score[:-1]
    return order, last.nonzero()[:, 0]


def _read(value: Callable[[Tensor, Tensor], Tensor], truth: Tensor, score: Tensor, weights: Tensor | None) -> Tensor:
    """A number read from the cumulated true and false positives (r, G); NaN where a class is missing."""
    counted, _ = _ranked(truth, score)
    return over_resamples(lambda block: value(*counted(block)), truth, weights, lambda: balance(truth))


def _points(truth: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True positives, false positives and threshold (G + 1,), from threshold inf down; Undefined for one class."""
    counted, values = _ranked(truth, score)
    tp, fp = counted(torch.ones(1, len(truth), dtype=torch.float64, device=truth.device))
    if tp[0, -1] == 0 or fp[0, -1] == 0:
        raise Undefined(balance(truth))
    zero = tp.new_zeros(1)
    return torch.cat([zero, tp[0]]), torch.cat([zero, fp[0]]), torch.cat([zero + torch.inf, values.to(torch.float64)])


def _area(tp: Tensor, fp: Tensor) -> Tensor:
    steps = fp.diff(dim=1, prepend=torch.zeros_like(fp[:, :1]))
    pairs = (steps * (tp - tp.diff(dim=1, prepend=torch.zeros_like(tp[:, :1])) / 2)).sum(1)
    return pairs / (tp[:, -1] * fp[:, -1])


def _average_precision(tp: Tensor, fp: Tensor) -> Tensor:
    steps = tp.diff(dim=1, prepend=torch.zeros_like(tp[:, :1]))
    # A resample may hold no case of the highest scores; the step is 0 there, and precision must not be 0 / 0.
    return _rate((steps * tp / (tp + fp).clamp(min=1)).sum(1), tp[:, -1], fp[:, -1])


def _rate(part: Tensor, whole: Tensor, other: Tensor | None = None) -> Tensor:
    """part / whole, NaN where `whole` is 0 or the other class has no case.

    Division rounds correctly, so that 9 / 10 equals the 0.9 of a recipe; 1 - 1 / 10 need not.
    """
    rate = part / whole
    return rate if other is None else rate.where(other > 0, torch.nan)


def _greatest(values: Tensor, allowed: Tensor) -> Tensor:
    """(r,) greatest value (r, G) of the allowed ones, 0 (the point where nobody is called positive) where none is."""
    return (values * allowed).amax(1)


def _macro(binary: Callable[..., Tensor], truth: Tensor, score: Tensor, weights: Tensor | None) -> Tensor:
    check_cases(truth, score)
    check_classes("labels", truth)
    if score.ndim != 2 or int(truth.max()) >= score.shape[1]:
        raise PredictionError(f"scores {tuple(score.shape)} for class indices up to {int(truth.max())}")
    found = []
    for label in range(score.shape[1]):
        try:
            found.append(binary((truth == label).long(), score[:, label], weights=weights))
        except Undefined as reason:
            raise Undefined(f"class {label}: {reason}") from None
    return torch.stack(found).mean(0)


METRICS: dict[str, Metric] = {
    "auroc": Metric(
        auroc,
        "score",
        "higher",
        summary="area under the ROC curve, exact with ties",
        within=UNIT,
        interval="ranks",
        rests_on="classes",
    ),
    "auprc": Metric(auprc, "score", "higher", summary="average precision", within=UNIT, rests_on="classes"),
    "roc_sensitivity@specificity": Metric(
        roc_sensitivity,
        "score",
        "higher",
        parameter="specificity",
        summary="sensitivity read from the test curve at a specificity",
        within=UNIT,
        interval="steps",
        rests_on="classes",
    ),
    "roc_specificity@sensitivity": Metric(
        roc_specificity,
        "score",
        "higher",
        parameter="sensitivity",
        summary="specificity read from the test curve at a sensitivity",
        within=UNIT,
        interval="steps",
        rests_on="classes",
    ),
    "macro_auroc": Metric(
        macro_auroc,
        "class_score",
        "higher",
        summary="mean AUROC of each class against the rest",
        within=UNIT,
        interval="ranks",
        rests_on="classes",
    ),
    "macro_auprc": Metric(
        macro_auprc,
        "class_score",
        "higher",
        summary="mean average precision of each class",
        within=UNIT,
        rests_on="classes",
    ),
}
