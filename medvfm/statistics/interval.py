"""What every interval and every comparison gives back, and when an interval is not to be relied on."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import norm

# Simulated 95% intervals of AUROC 0.8 to 0.95, 100 negatives: DeLong covers 0.84 to 0.90 with 5 to 7 positives, 0.91
# to 0.92 with 10, 0.94 with 15 to 20; a percentile bootstrap some 0.03 less. See tests/statistics/test_coverage.py.
FEW = 15


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends None where it does not exist; `note` then gives the reason.

    method: delong, pairs, bootstrap, bootstrap_bca, wilson, clopper_pearson.
    """

    low: float | None
    high: float | None
    level: float
    method: str
    note: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A difference (first minus second) with its interval and the two-sided p-value of no difference."""

    difference: float
    interval: Interval
    p_value: float | None
    note: str | None = None


def few_positives(positives: int, cases: int) -> str | None:
    """`only 7 positives: the interval is unreliable`, or None where each class has at least FEW cases."""
    few = [(positives, "positive"), (cases - positives, "negative")]
    named = [f"{count} {name}{'s' * (count != 1)}" for count, name in few if count < FEW]
    return f"only {' and '.join(named)}: the interval is unreliable" if named else None


def normal_quantile(level: float) -> float:
    """z with P(|Z| <= z) = level for a standard normal Z."""
    check_level(level)
    return float(norm.ppf((1 + level) / 2))


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level {level!r} is not between 0 and 1")
