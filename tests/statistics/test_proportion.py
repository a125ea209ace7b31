"""Intervals of proportions against scipy, and the note on small classes."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from medvfm.statistics.interval import FEW, few_positives, normal_quantile
from medvfm.statistics.proportion import clopper_pearson, wilson


@pytest.mark.parametrize(("successes", "total"), [(0, 5), (5, 5), (3, 8), (81, 263), (1, 1)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_agree_with_scipy(successes: int, total: int, level: float) -> None:
    test = binomtest(successes, total)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = test.proportion_ci(level, method)
        found = ours(successes, total, level)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        mirrored = ours(total - successes, total, level)
        assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)


def test_no_cases_and_nonsense() -> None:
    for interval in (wilson, clopper_pearson):
        assert (interval(0, 0).low, interval(0, 0).note) == (None, "no cases")
        with pytest.raises(ValueError, match="6 of 5"):
            interval(6, 5)
        with pytest.raises(ValueError, match="level"):
            interval(1, 5, 1.0)


def test_small_classes_are_named() -> None:
    assert few_positives(7, 1000) == "only 7 positives: the interval is unreliable"
    assert few_positives(1, 1000) == "only 1 positive: the interval is unreliable"
    assert few_positives(995, 1000) == "only 5 negatives: the interval is unreliable"
    assert few_positives(3, 5) == "only 3 positives and 2 negatives: the interval is unreliable"
    assert few_positives(FEW, 2 * FEW) is None


def test_normal_quantile() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
