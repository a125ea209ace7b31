"""Decisions: agreement with the truth of a class chosen at a threshold or by the highest score.

Two kinds. About one target against the rest (f1, sensitivity, specificity, ppv, npv and those at an operating point):
truth and decision (n,) of 0/1. About classes (accuracy, balanced_accuracy, macro_f1, the kappas, mcc): truth and
decision (n,) class index, two classes or more. Everything is counted from the table of truth against decision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError
from medvfm.core.metric_spec import Metric
from medvfm.metrics.weighted import check_binary, check_cases, check_classes, check_fraction, over_resamples


def sensitivity(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Share of the positives that are called positive (Altman and Bland 1994); undefined without positives."""
    return _of_target(lambda table: table[:, 1, 1] / table[:, 1].sum(1), truth, decision, weights, "no positives")


def specificity(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Share of the negatives that are called negative (Altman and Bland 1994); undefined without negatives."""
    return _of_target(lambda table: table[:, 0, 0] / table[:, 0].sum(1), truth, decision, weights, "no negatives")


def ppv(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Positive predictive value, or precision: the share of positives among the cases that are called positive."""
    reason = "no case was called positive"
    return _of_target(lambda table: table[:, 1, 1] / table[:, :, 1].sum(1), truth, decision, weights, reason)


def npv(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Negative predictive value: the share of negatives among the cases that are called negative."""
    reason = "no case was called negative"
    return _of_target(lambda table: table[:, 0, 0] / table[:, :, 0].sum(1), truth, decision, weights, reason)


def f1(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """2 TP / (2 TP + FP + FN), van Rijsbergen 1979. Undefined without positives, as one false alarm would make it 0."""

    def value(table: Tensor) -> Tensor:
        return _f1(table)[:, 1].where(table[:, 1].sum(1) > 0, torch.nan)

    return _of_target(value, truth, decision, weights, "no positives")


def sensitivity_at_specificity(
    truth: Tensor, decision: Tensor, specificity: float, *, weights: Tensor | None = None
) -> Tensor:
    """Sensitivity on these cases of decisions whose threshold was fixed on validation data.

    The threshold is `ranking.threshold_at_specificity` of the validation cases; the specificity that it achieves here
    may be another than the one wanted, and is to be reported with this number.
    """
    check_fraction("specificity", specificity)
    return sensitivity(truth, decision, weights=weights)


def specificity_at_sensitivity(
    truth: Tensor, decision: Tensor, sensitivity: float, *, weights: Tensor | None = None
) -> Tensor:
    """Specificity on these cases of decisions at `ranking.threshold_at_sensitivity` of the validation cases."""
    check_fraction("sensitivity", sensitivity)
    return specificity(truth, decision, weights=weights)


def accuracy(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Share of the cases whose class is right."""
    return _of_classes(lambda table: _diagonal(table).sum(1) / table.sum((1, 2)), truth, decision, weights)


def balanced_accuracy(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean over the classes that occur in the truth of the share that is right; undefined for fewer than two."""

    def value(table: Tensor) -> Tensor:
        cases = table.sum(2)
        return (_diagonal(table) / cases).nanmean(1).where((cases > 0).sum(1) > 1, torch.nan)

    return _of_classes(value, truth, decision, weights)


def macro_f1(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Mean of F1 over the classes that occur in truth or decision; 0 for a class that is only decided."""
    return _of_classes(lambda table: _f1(table).nanmean(1), truth, decision, weights)


def kappa(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Agreement beyond chance (Cohen 1960); undefined where truth and decision hold one and the same class only."""
    return _of_classes(lambda table: _kappa(table, (_distance(table) > 0).double()), truth, decision, weights)


def quadratic_kappa(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Agreement beyond chance of ordered classes, a disagreement weighing its squared distance (Cohen 1968)."""
    return _of_classes(lambda table: _kappa(table, _distance(table).square()), truth, decision, weights)


def mcc(truth: Tensor, decision: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Matthews' correlation; R_K of Gorodkin 2004 for more classes. Undefined where either holds one class only."""

    def value(table: Tensor) -> Tensor:
        true, given, n = table.sum(2), table.sum(1), table.sum((1, 2))
        spread = (n**2 - true.square().sum(1)) * (n**2 - given.square().sum(1))
        together = n * _diagonal(table).sum(1) - (true * given).sum(1)
        return together / spread.sqrt()

    return _of_classes(value, truth, decision, weights)


def confusion(truth: Tensor, decision: Tensor) -> Tensor:
    """(K, K) int64 counts, truth down and decision across; K is the greatest class index of either plus 1."""
    k = _check(truth, decision)
    return _counted(truth, decision, k)(torch.ones(1, len(truth), dtype=torch.float64, device=truth.device))[0].long()


def _of_target(
    value: Callable[[Tensor], Tensor], truth: Tensor, decision: Tensor, weights: Tensor | None, reason: str
) -> Tensor:
    """A number from the (r, 2, 2) table of one target; NaN is 0 / 0, for the given reason."""
    _check(truth, decision)
    check_binary("labels", truth)
    check_binary("decisions", decision)
    counted = _counted(truth, decision, 2)
    return over_resamples(lambda block: value(counted(block)), truth, weights, lambda: reason)


def _of_classes(value: Callable[[Tensor], Tensor], truth: Tensor, decision: Tensor, weights: Tensor | None) -> Tensor:
    """A number from the (r, K, K) table; the only reason for NaN is that truth or decision hold one class."""
    k = _check(truth, decision)
    counted = _counted(truth, decision, k)

    def reason() -> str:
        sides = (("truth", truth), ("decisions", decision))
        lone = [f"class {int(values[0])} in the {name}" for name, values in sides if bool((values == values[0]).all())]
        return f"one class only: {', '.join(lone)}"

    return over_resamples(lambda block: value(counted(block)), truth, weights, reason, width=k * k)


def _check(truth: Tensor, decision: Tensor) -> int:
    """Class indices, one a case; gives K, the greatest of either plus 1."""
    check_cases(truth, decision)
    if decision.ndim != 1:
        raise PredictionError(f"decisions {tuple(decision.shape)}: expected one a case")
    check_classes("labels", truth)
    check_classes("decisions", decision)
    return int(max(truth.max(), decision.max())) + 1


def _counted(truth: Tensor, decision: Tensor, k: int) -> Callable[[Tensor], Tensor]:
    """counts (r, n) -> (r, K, K). Each case lies in one cell, so that the work is one pass whatever K is."""
    order = torch.argsort(cell := truth.long() * k + decision.long(), stable=True)
    occupied, sizes = torch.unique_consecutive(cell[order], return_counts=True)
    members = order.split(sizes.tolist())

    def counted(weights: Tensor) -> Tensor:
        table = weights.new_zeros(len(weights), k * k)
        table[:, occupied] = torch.stack([weights[:, cases].sum(1) for cases in members], 1)
        return table.view(-1, k, k)

    return counted


def _diagonal(table: Tensor) -> Tensor:
    return table.diagonal(dim1=1, dim2=2)


def _f1(table: Tensor) -> Tensor:
    """(r, K) F1 of every class, NaN for one that occurs in neither truth nor decision."""
    return 2 * _diagonal(table) / (table.sum(1) + table.sum(2))


def _distance(table: Tensor) -> Tensor:
    place = torch.arange(table.shape[1], dtype=table.dtype, device=table.device)
    return (place[:, None] - place).abs()


def _kappa(table: Tensor, cost: Tensor) -> Tensor:
    """1 - observed cost / cost by chance, with cost (K, K) of each disagreement."""
    chance = table.sum(2)[:, :, None] * table.sum(1)[:, None, :] / table.sum((1, 2))[:, None, None]
    return 1 - (table * cost).sum((1, 2)) / (chance * cost).sum((1, 2))


def _right(truth: Tensor, decision: Tensor) -> tuple[Tensor, Tensor]:
    return (truth == decision)[:, None], torch.ones_like(truth, dtype=torch.bool)[:, None]


def _right_of_class(truth: Tensor, decision: Tensor) -> tuple[Tensor, Tensor]:
    """Of each class that occurs in the truth."""
    among = truth[:, None] == torch.unique(truth)
    return among & (truth == decision)[:, None], among


def _agreed(truth: Tensor, decision: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """TP, and TP + FP + FN, of each class."""
    true, given = truth[:, None] == classes, decision[:, None] == classes
    return true & given, true | given


def _agreed_positive(truth: Tensor, decision: Tensor) -> tuple[Tensor, Tensor]:
    return _agreed(truth, decision, torch.ones(1, dtype=truth.dtype, device=truth.device))


def _agreed_of_class(truth: Tensor, decision: Tensor) -> tuple[Tensor, Tensor]:
    """Of each class that occurs in truth or decision."""
    return _agreed(truth, decision, torch.unique(torch.cat([truth, decision])))


def _share(of: str, among: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Where truth (or decision) is `of`, among the cases in which the other one is."""
    value = 1 if of == "positive" else 0

    def counted(truth: Tensor, decision: Tensor) -> tuple[Tensor, Tensor]:
        whole = (truth if among == "truth" else decision) == value
        return (whole & (truth == decision))[:, None], whole[:, None]

    return counted


UNIT, SIGNED = (0.0, 1.0), (-1.0, 1.0)
METRICS: dict[str, Metric] = {
    "sensitivity": Metric(
        sensitivity,
        "decision",
        "higher",
        summary="share of positives called positive",
        within=UNIT,
        interval="share",
        rests_on="positives",
        per_case=_share("positive", "truth"),
    ),
    "specificity": Metric(
        specificity,
        "decision",
        "higher",
        summary="share of negatives called negative",
        within=UNIT,
        interval="share",
        rests_on="negatives",
        per_case=_share("negative", "truth"),
    ),
    "ppv": Metric(
        ppv,
        "decision",
        "higher",
        summary="share of positives among those called positive",
        within=UNIT,
        interval="share",
        per_case=_share("positive", "decision"),
    ),
    "npv": Metric(
        npv,
        "decision",
        "higher",
        summary="share of negatives among those called negative",
        within=UNIT,
        interval="share",
        per_case=_share("negative", "decision"),
    ),
    "f1": Metric(
        f1,
        "decision",
        "higher",
        summary="harmonic mean of precision and recall",
        within=UNIT,
        interval="f1",
        rests_on="positives",
        per_case=_agreed_positive,
    ),
    "sensitivity@specificity": Metric(
        sensitivity_at_specificity,
        "decision",
        "higher",
        parameter="specificity",
        summary="sensitivity at the threshold that had this specificity on validation data",
        within=UNIT,
        interval="share",
        rests_on="positives",
        per_case=_share("positive", "truth"),
    ),
    "specificity@sensitivity": Metric(
        specificity_at_sensitivity,
        "decision",
        "higher",
        parameter="sensitivity",
        summary="specificity at the threshold that had this sensitivity on validation data",
        within=UNIT,
        interval="share",
        rests_on="negatives",
        per_case=_share("negative", "truth"),
    ),
    "accuracy": Metric(
        accuracy,
        "class",
        "higher",
        summary="share of cases whose class is right",
        within=UNIT,
        interval="share",
        per_case=_right,
    ),
    "balanced_accuracy": Metric(
        balanced_accuracy,
        "class",
        "higher",
        summary="mean over classes of the share right",
        within=UNIT,
        interval="share",
        rests_on="classes",
        per_case=_right_of_class,
    ),
    "macro_f1": Metric(
        macro_f1,
        "class",
        "higher",
        summary="mean over classes of F1",
        within=UNIT,
        interval="f1",
        rests_on="classes",
        per_case=_agreed_of_class,
    ),
    "kappa": Metric(
        kappa, "class", "higher", summary="agreement beyond chance (Cohen)", within=SIGNED, rests_on="classes"
    ),
    "quadratic_kappa": Metric(
        quadratic_kappa,
        "class",
        "higher",
        summary="agreement of ordered classes (Cohen 1968)",
        within=SIGNED,
        rests_on="classes",
    ),
    "mcc": Metric(
        mcc,
        "class",
        "higher",
        summary="Matthews correlation of truth and decision",
        within=SIGNED,
        rests_on="classes",
    ),
}
