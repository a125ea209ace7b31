"""A published number of scores, by every level, threshold and average that papers use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.metrics import auc, precision_recall_curve

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError, Undefined
from medvfm.core.metric_spec import Metric, parse
from medvfm.io.dataset.prediction_tables import GivenTable
from medvfm.metrics import ranking
from medvfm.tasks.classification.estimands import METRICS
from medvfm.tasks.recomputed import Recomputed, column, distinct, folds, mean_over, splits

COLUMNS = (frozenset({"case_id", "truth", "score"}),)
HALF = 0.5
Number = Callable[[Array, Array], float]  # truth (n,) 0 or 1 and score (n,) to a number


def recompute(table: GivenTable, metric: str) -> list[Recomputed]:
    """Every protocol of the metric for one target, its mean over targets and folds, by case and by patient."""
    spec = parse(metric, METRICS, "--metric")
    truth, score = table.numbers("truth"), table.numbers("score")
    known = ~(np.isnan(truth) | np.isnan(score))
    if not np.isin(truth[known], (0, 1)).all():
        raise PredictionError("the truth is neither 0 nor 1 somewhere", where=table.where)
    ways = _ways(spec.name, spec.metric, spec.arguments, score[known])
    targets = column(table, "target")
    found: list[Recomputed] = []
    for split, rows in splits(table):
        for protocol, number in ways:
            found += _over(table, truth, score, rows & known, targets, split, protocol, number)
    return distinct(found)


def _ways(name: str, metric: Metric, arguments: dict[str, float], score: Array) -> list[tuple[str, Number]]:
    """Protocols of one metric: exact, and the shortcuts that stand for it in papers."""
    exact = _called(metric, arguments)
    if name == "auroc":
        return [
            ("AUROC, ties counted half", exact),
            ("AUROC of decisions at 0.5, one point of the curve", _decided(exact, _half)),
            ("AUROC of decisions at Youden's threshold of these cases, one point of the curve",
             _decided(exact, _youden)),
        ]  # fmt: skip
    if name == "auprc":
        return [
            ("average precision", exact),
            ("area under the PR curve by trapezoids", _trapezoids),
        ]
    if metric.takes in ("decision", "class") and not arguments:
        ways = [
            (f"{name} at the threshold 0.5", _decided(exact, _half)),
            (f"{name} at Youden's threshold of these very cases", _decided(exact, _youden)),
            (f"{name} at the threshold of greatest F1 of these very cases", _decided(exact, _f1)),
            (f"{name} at its own best threshold of these very cases", _best(exact)),
        ]
        return ways if np.isin(score, (0, 1)).sum() < len(score) else ways[:1]
    if metric.takes in ("score", "probability"):
        return [(name, exact)]
    raise PredictionError(
        f"{name} has no protocols beside it that a table of truth and score could tell apart", where="--metric"
    )


def _called(metric: Metric, arguments: dict[str, float]) -> Number:
    def number(truth: Array, score: Array) -> float:
        given = torch.as_tensor(score if metric.takes in ("score", "probability") else score.astype(np.int64))
        return float(metric.function(torch.as_tensor(truth.astype(np.int64)), given, **arguments))

    return number


def _decided(number: Number, threshold: Number) -> Number:
    return lambda truth, score: number(truth, (score >= threshold(truth, score)).astype(np.float64))


def _best(number: Number) -> Number:
    def best(truth: Array, score: Array) -> float:
        cuts = np.unique(score)
        cuts = cuts[:: max(1, len(cuts) // 200)]
        return max(number(truth, (score >= cut).astype(np.float64)) for cut in cuts)

    return best


def _half(truth: Array, score: Array) -> float:
    return HALF


def _youden(truth: Array, score: Array) -> float:
    return float(ranking.threshold_youden(torch.as_tensor(truth.astype(np.int64)), torch.as_tensor(score)))


def _f1(truth: Array, score: Array) -> float:
    return float(ranking.threshold_f1(torch.as_tensor(truth.astype(np.int64)), torch.as_tensor(score)))


def _trapezoids(truth: Array, score: Array) -> float:
    """Straight lines between the points of the precision-recall curve, which is too good (Davis and Goadrich 2006)."""
    if not truth.any():
        raise Undefined("no positives")
    precision, recall, _ = precision_recall_curve(truth, score)
    return float(auc(recall, precision))


def _over(
    table: GivenTable, truth: Array, score: Array, rows: Array, targets: Array | None, split: str, protocol: str,
    number: Number,
) -> Iterator[Recomputed]:  # fmt: skip
    """One protocol of one split: all together, folds apart, patients in place of cases, targets apart."""

    def of(mine: Array) -> float | None:
        return _value(number, truth[mine], score[mine])

    several = targets is not None and len(set(targets[rows])) > 1
    parts = (
        [("", rows)]
        if targets is None or not several
        else [(t, rows & (targets == t)) for t in sorted(set(targets[rows]))]
    )
    fold, people = folds(table), column(table, "patient_id", "patient")
    for name, mine in parts:
        of_target = f", {name}" if name else ""
        value = of(mine)
        if value is not None:
            pooled = ", folds pooled" if fold is not None else ""
            yield Recomputed(protocol, split, f"every case{pooled}{of_target}", value, int(mine.sum()))
        if fold is not None and (found := mean_over(fold, mine, of)):
            yield Recomputed(protocol, split, f"mean over folds{of_target}", *found)
        if people is not None and len(set(people[mine])) < mine.sum():
            for word, pool in (("mean", np.mean), ("highest", np.max)):
                owners = list(dict.fromkeys(people[mine]))
                held = [mine & (people == owner) for owner in owners]
                value = _value(
                    number,
                    np.array([truth[h].max() for h in held]),
                    np.array([float(pool(score[h])) for h in held]),
                )
                if value is not None:
                    yield Recomputed(
                        protocol, split, f"every patient by the {word} of his scores{of_target}", value, len(owners)
                    )
    if several and targets is not None:
        value = of(rows)
        if value is not None:
            yield Recomputed(protocol, split, "all targets pooled (micro)", value, int(rows.sum()))
        if found := mean_over(targets, rows, of):
            yield Recomputed(protocol, split, "mean over targets (macro)", *found)


def _value(number: Number, truth: Array, score: Array) -> float | None:
    try:
        value = number(truth, score)
    except (Undefined, PredictionError):  # one class only, or scores that are no probabilities
        return None
    return None if np.isnan(value) else value
