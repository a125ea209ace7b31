"""DeLong's variance of AUROC, its interval and its paired test, in n log n.

DeLong, DeLong and Clarke-Pearson 1988; fast form Sun and Xu 2014 (IEEE Signal Processing Letters 21, 1389): placements
from ranks. The ranks come from sorting each class by itself, which is faster than ranking all cases at once.
It takes cases as independent: one case a patient. Otherwise use the bootstrap over patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from medvfm.core.errors import PredictionError, Undefined
from medvfm.statistics.interval import Comparison, Interval, check_level, normal_quantile

SAME = "the scores rank the cases alike: the difference is 0 and has variance 0"


@dataclass(frozen=True)
class Variance:
    """AUROC (k,) of k scores on the same cases, and their covariance (k, k)."""

    auroc: np.ndarray
    covariance: np.ndarray
    positives: int
    negatives: int


def delong_covariance(truth: np.ndarray, scores: np.ndarray) -> Variance:
    """truth (n,) of 0/1, scores (n,) or (n, k). Covariance NaN where a class has one case. Raises Undefined."""
    positive, columns = _checked(truth, scores)
    m, n = int(positive.sum()), int((~positive).sum())
    # One score alone needs no pairing of its placements, and sorted ones are found several times faster.
    places = [_placements(c[positive], c[~positive], paired=len(columns) > 1) for c in columns]
    above = np.stack([p for p, _ in places])  # (k, m): share of negatives below each positive
    below = np.stack([q for _, q in places])  # (k, n): share of positives above each negative
    k = len(columns)
    covariance = np.full((k, k), np.nan)
    if m > 1 and n > 1:
        covariance = np.cov(above).reshape(k, k) / m + np.cov(below).reshape(k, k) / n
    return Variance(above.mean(axis=1), covariance, m, n)


def delong_interval(truth: np.ndarray, score: np.ndarray, level: float = 0.95) -> Interval:
    """Interval of AUROC on the logit scale, where it stays within 0 and 1 (Pepe 2003, section 5.2.5).

    At AUROC 0 or 1 the variance is 0 and useless. The interval is then exact from disjoint pairs: min(m, n) pairs
    of a positive and a negative are independent, each is ordered rightly with probability AUROC at most, and all of
    them are; the bound is Clopper and Pearson's for as many successes, (alpha / 2)^(1 / min(m, n)). It is wide.
    """
    check_level(level)
    found = delong_covariance(truth, score)
    auroc, variance = float(found.auroc[0]), float(found.covariance[0, 0])
    if auroc in (0.0, 1.0):
        pairs = min(found.positives, found.negatives)
        bound = ((1 - level) / 2) ** (1 / pairs)
        low, high = (bound, 1.0) if auroc == 1 else (0.0, 1 - bound)
        note = f"AUROC is {auroc:.0f}, where DeLong's variance is 0: bound from {pairs} disjoint pairs"
        return Interval(low, high, level, "pairs", note)
    if math.isnan(variance):
        counts = f"{found.positives} positives and {found.negatives} negatives"
        return Interval(None, None, level, "delong", f"{counts}: DeLong's variance needs two of each")
    warning = "the variance is 0: no case's score says more than another's" if variance == 0 else None
    half = normal_quantile(level) * math.sqrt(variance) / (auroc * (1 - auroc))
    centre = math.log(auroc / (1 - auroc))
    return Interval(_expit(centre - half), _expit(centre + half), level, "delong", warning)


def delong_difference(truth: np.ndarray, score_a: np.ndarray, score_b: np.ndarray, level: float = 0.95) -> Comparison:
    """AUROC of a minus AUROC of b on the same cases: normal interval and two-sided p-value."""
    check_level(level)
    if np.shape(score_a) != np.shape(score_b):
        raise PredictionError(f"scores {np.shape(score_a)} and {np.shape(score_b)} are not of the same cases")
    found = delong_covariance(truth, np.stack([np.asarray(score_a), np.asarray(score_b)], axis=1))
    difference = float(found.auroc[0] - found.auroc[1])
    variance = float(np.array([1, -1]) @ found.covariance @ np.array([1, -1]))
    if math.isnan(variance):
        note = f"{found.positives} positives and {found.negatives} negatives: DeLong's variance needs two of each"
        return Comparison(difference, Interval(None, None, level, "delong", note), None, note)
    scale = max(found.covariance[0, 0], found.covariance[1, 1])
    if variance <= 1e-12 * scale or scale == 0:
        note = "the variance of the difference is 0: it has no interval"
        if difference != 0:
            return Comparison(difference, Interval(None, None, level, "delong", note), None, note)
        return Comparison(0.0, Interval(0.0, 0.0, level, "delong", SAME), 1.0, SAME)
    error = math.sqrt(variance)
    half = normal_quantile(level) * error
    interval = Interval(max(difference - half, -1.0), min(difference + half, 1.0), level, "delong")
    return Comparison(difference, interval, float(2 * norm.sf(abs(difference) / error)))


def _checked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    truth, scores = np.asarray(truth), np.asarray(scores)
    table = scores[:, None] if scores.ndim == 1 else scores
    if truth.ndim != 1 or table.ndim != 2 or len(truth) != len(table):
        raise PredictionError(f"truth {truth.shape} and scores {scores.shape} do not pair up")
    if not np.isin(truth, (0, 1)).all():
        raise PredictionError("labels must be 0 or 1")
    if np.issubdtype(table.dtype, np.floating) and np.isnan(table).any():
        raise Undefined("scores hold NaN")
    positive = truth == 1
    m = int(positive.sum())
    if m in (0, len(truth)):
        raise Undefined(f"one class only: {m} positives, {len(truth) - m} negatives")
    return positive, [np.ascontiguousarray(column) for column in table.T]


def _placements(positives: np.ndarray, negatives: np.ndarray, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives below each positive (m,), and of positives above each negative (n,); ties count half.

    DeLong's V10 and V01, in the order of the cases where `paired`, else in the order of the scores.
    """
    if not paired:
        sorted_p, sorted_n = np.sort(positives), np.sort(negatives)
        return _below(sorted_n, sorted_p) / len(negatives), 1 - _below(sorted_p, sorted_n) / len(positives)
    order_p, order_n = np.argsort(positives), np.argsort(negatives)
    above, below = _placements(positives[order_p], negatives[order_n], paired=False)
    return _reordered(above, order_p), _reordered(below, order_n)


def _reordered(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Values in the order of the scores, back in the order of the cases."""
    found = np.empty_like(values)
    found[order] = values
    return found


def _below(ranked: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many of `ranked` lie below each value, equals counted half."""
    return (np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")) / 2


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
