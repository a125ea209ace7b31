"""Intervals of proportions against scipy, next to 0 and 1, and in clusters."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, poisson, t

from medvfm.statistics.interval import normal_quantile
from medvfm.statistics.proportion import clopper_pearson, effective_size, score_interval, wilson


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


@pytest.mark.parametrize("successes", [0, 3, 12, 15, 18, 20])
def test_the_score_interval_is_wilsons(successes: int) -> None:
    ours, theirs = score_interval(successes / 20, 20, 0.95), wilson(successes, 20)
    if successes != 18:
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low == pytest.approx(theirs.low)


@pytest.mark.parametrize(("missed", "total"), [(1, 10), (2, 50), (1, 100), (3, 100)])
def test_next_to_1_the_bound_is_of_a_poisson_count(missed: int, total: int) -> None:
    found = score_interval((total - missed) / total, total, 0.95)
    mean = (1 - found.high) * total
    assert poisson.sf(missed - 1, mean) == pytest.approx(0.05, abs=1e-9)  # as many or more are seen once in 20
    assert found.low == pytest.approx(wilson(total - missed, total).low)
    mirrored = score_interval(missed / total, total, 0.95)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-9)


def test_cases_of_a_patient_count_as_one_where_they_are_alike() -> None:
    assert effective_size(0.5, 0.25 / 20, 60, 20) == pytest.approx(20)  # the variance of 20 independent cases
    assert effective_size(0.5, 0.25 / 90, 60, 20) == 60  # never more than there are
    assert effective_size(1.0, 0.0, 60, 20) == 20
    few = score_interval(0.5, 20, 0.95, freedom=4)
    quantile = t.ppf(0.975, 4)
    assert few.high - few.low == pytest.approx(quantile * (20 + quantile**2) ** 0.5 / (20 + quantile**2), abs=1e-9)


def test_normal_quantile() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
