"""Intervals of a proportion, of cases that are independent or of patients with several cases each."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, chi2

from medvfm.statistics.interval import Interval, check_level, none, normal_quantile, t_quantile

SMALL = 50  # cases up to which the bound by Poisson serves 2 successes; 3 beyond


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Wilson 1927: close to the level on average, also for small totals; may be below it at some proportions."""
    _check(successes, total)
    if total == 0:
        return none(level, "wilson", "no cases")
    low, high = _wilson(successes, total, normal_quantile(level))
    return Interval(low, high, level, "wilson")


def score_interval(share: float, size: float, level: float, freedom: float | None = None) -> Interval:
    """Wilson's interval of a share found in `size` independent cases, or in cases worth as many.

    Brown, Cai and DasGupta 2001 (Statistical Science 16, 101, section 4.1.2): next to 0 and 1, where Wilson's bound
    covers as little as 84%, the bound of a Poisson count takes its place, for 1 or 2 cases (3 beyond 50). With
    `freedom` t takes the place of z, for a size that was estimated from few clusters (Dean and Pagano 2015, Survey
    Methodology 41, 129).
    """
    quantile = normal_quantile(level) if freedom is None else t_quantile(level, freedom)
    found, missed = round(share * size, 9), round((1 - share) * size, 9)  # 2 cases, not 2.0000000000000018
    low, high = _wilson(found, size, quantile)
    most = 2 if size <= SMALL else 3
    # Between whole numbers, as effective sizes give them, the two bounds run into each other.
    if 0 < found <= most:
        low = min(low, _poisson(found, level) / size)
    if 0 < missed <= most:
        high = max(high, 1 - _poisson(missed, level) / size)
    return Interval(low, high, level, "wilson")


def effective_size(share: float, variance: float, cases: int, patients: int) -> float:
    """How many independent cases would give the share the same variance (Kish 1965): never more than there are.

    A share of 0 or 1 has no variance to tell by: it counts as many cases as patients, as if all cases of a patient
    were one.
    """
    if share in (0.0, 1.0) or variance <= 0:
        return float(patients)
    return float(min(max(share * (1 - share) / variance, 1.0), cases))


def clopper_pearson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Clopper and Pearson 1934: never below the level, and therefore wider."""
    _check(successes, total)
    check_level(level)
    if total == 0:
        return none(level, "clopper_pearson", "no cases")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, total - successes + 1))
    high = 1.0 if successes == total else float(beta.ppf(1 - tail, successes + 1, total - successes))
    return Interval(low, high, level, "clopper_pearson")


def exact_interval(share: float, size: float, level: float) -> Interval:
    """Clopper and Pearson's interval of a share found in `size` independent cases, or in cases worth as many (Korn and
    Graubard 1998, Survey Methodology 24, 193)."""
    found, missed = round(share * size, 9), round((1 - share) * size, 9)
    tail = (1 - level) / 2
    low = 0.0 if found <= 0 else float(beta.ppf(tail, found, missed + 1))
    high = 1.0 if missed <= 0 else float(beta.ppf(1 - tail, found + 1, missed))
    return Interval(low, high, level, "clopper_pearson")


def _wilson(successes: float, total: float, quantile: float) -> tuple[float, float]:
    share, shrink = successes / total, 1 + quantile**2 / total
    centre = (share + quantile**2 / (2 * total)) / shrink
    spread = max(share * (1 - share), 0.0) / total
    half = quantile / shrink * float(np.sqrt(spread + quantile**2 / (4 * total**2)))
    # exactly, not to rounding
    return 0.0 if share <= 0 else max(0.0, centre - half), 1.0 if share >= 1 else min(1.0, centre + half)


def _poisson(count: float, level: float) -> float:
    """The mean of which `count` events or more are seen with probability 1 - level."""
    return float(chi2.ppf(1 - level, 2 * count)) / 2


def _check(successes: int, total: int) -> None:
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} of {total} is no proportion")
