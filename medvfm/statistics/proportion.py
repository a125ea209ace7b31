"""Intervals of a proportion whose cases are independent: one case a patient."""

from __future__ import annotations

from scipy.stats import beta

from medvfm.statistics.interval import Interval, check_level, normal_quantile


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Wilson 1927: close to the level on average, also for small totals; may be below it at some proportions."""
    _check(successes, total)
    z = normal_quantile(level)
    if total == 0:
        return Interval(None, None, level, "wilson", "no cases")
    share, shrink = successes / total, 1 + z**2 / total
    centre = (share + z**2 / (2 * total)) / shrink
    half = z / shrink * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    low = 0.0 if successes == 0 else centre - half  # exactly, not to rounding
    return Interval(low, 1.0 if successes == total else centre + half, level, "wilson")


def clopper_pearson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Clopper and Pearson 1934: never below the level, and therefore wider."""
    _check(successes, total)
    check_level(level)
    if total == 0:
        return Interval(None, None, level, "clopper_pearson", "no cases")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, total - successes + 1))
    high = 1.0 if successes == total else float(beta.ppf(1 - tail, successes + 1, total - successes))
    return Interval(low, high, level, "clopper_pearson")


def _check(successes: int, total: int) -> None:
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} of {total} is no proportion")
