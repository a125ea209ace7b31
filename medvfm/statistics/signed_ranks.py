"""Differences by their ranks: Wilcoxon's signed rank test, and the shift of Hodges and Lehmann with its interval.

Values of one patient are averaged first: ranks know no clusters.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, wilcoxon

from medvfm.statistics.interval import Interval, check_level, none

EXACT = 25  # differences up to which the distribution of the rank sum is counted, and not approximated


def wilcoxon_p(differences: np.ndarray) -> float:
    """Two-sided p-value that differences (P,) of patients lie evenly around 0 (Wilcoxon 1945), by scipy.

    Zeros are ranked and then left out (Pratt 1959). NaN where there is none but zeros.
    """
    known = np.asarray(differences, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not (known != 0).any():
        return float("nan")
    tied = len(np.unique(np.abs(known))) < len(known) or (known == 0).any()
    method = "approx" if tied or len(known) > EXACT else "exact"
    return float(wilcoxon(known, zero_method="pratt", method=method).pvalue)


def hodges_lehmann(differences: np.ndarray, level: float = 0.95) -> tuple[float, Interval]:
    """The median of the means of all pairs, each with itself too, and the interval that goes with Wilcoxon's test.

    Hodges and Lehmann 1963; the ends are two of those means (Hollander and Wolfe 1999, section 3.3), counted exactly up
    to 25 differences.
    """
    check_level(level)
    known = np.asarray(differences, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        raise ValueError("no differences")
    rows, columns = np.triu_indices(n)
    means = np.sort((known[rows] + known[columns]) / 2)
    shift = float(np.median(means))
    out = _left_out(n, (1 - level) / 2)
    if out < 1:
        return shift, none(level, "wilcoxon", f"{n} patients are too few for an interval by ranks")
    return shift, Interval(float(means[out - 1]), float(means[-out]), level, "wilcoxon")


def _left_out(n: int, tail: float) -> int:
    """Which of the ordered means is the lower end: the greatest k with P(rank sum <= k - 1) <= tail; 0 without one."""
    if n > EXACT:
        middle, spread = n * (n + 1) / 4, np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return int(max(0, round(middle + norm.ppf(tail) * spread)))
    counts = np.ones(1)
    for rank in range(1, n + 1):  # how many sets of ranks have each sum
        longer = np.zeros(len(counts) + rank)
        longer[: len(counts)] += counts
        longer[rank:] += counts
        counts = longer
    below = np.cumsum(counts) / 2.0**n
    return int(np.searchsorted(below, tail, side="right"))
