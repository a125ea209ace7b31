"""DeLong against the formulas of 1988 written out in n squared, and its conventions at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from medvfm.core.errors import PredictionError, Undefined
from medvfm.statistics.delong import delong_covariance, delong_difference, delong_interval


def slow_delong(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong, DeLong and Clarke-Pearson 1988, eqs. 3 to 7: AUROC (k,) and covariance (k, k)."""
    x, y = scores[truth == 1], scores[truth == 0]
    m, n, k = len(x), len(y), scores.shape[1]
    v10, v01 = np.zeros((m, k)), np.zeros((n, k))
    for r in range(k):
        for i in range(m):
            for j in range(n):
                psi = 1.0 if y[j, r] < x[i, r] else 0.5 if y[j, r] == x[i, r] else 0.0
                v10[i, r] += psi / n
                v01[j, r] += psi / m
    theta = v10.mean(axis=0)
    s10 = (v10 - theta).T @ (v10 - theta) / (m - 1)
    s01 = (v01 - theta).T @ (v01 - theta) / (n - 1)
    return theta, s10 / m + s01 / n


def tied(n: int, seed: int, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.r_[0, 0, 1, 1, rng.integers(0, 2, n - 4)]
    return truth, (rng.integers(0, 7, (n, k)) + 2 * truth[:, None]) / 7


@pytest.mark.parametrize("seed", range(10))
def test_the_fast_form_equals_the_formulas(seed: int) -> None:
    truth, scores = tied(35, seed)
    theta, covariance = slow_delong(truth, scores)
    fast = delong_covariance(truth, scores)
    np.testing.assert_allclose(fast.auroc, theta, rtol=1e-13)
    np.testing.assert_allclose(fast.covariance, covariance, rtol=1e-11, atol=1e-16)
    alone = delong_covariance(truth, scores[:, 1])
    np.testing.assert_allclose(alone.auroc, theta[1:2], rtol=1e-13)
    np.testing.assert_allclose(alone.covariance, covariance[1:2, 1:2], rtol=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_interval_and_test_follow_from_the_formulas(seed: int) -> None:
    truth, scores = tied(40, seed)
    theta, covariance = slow_delong(truth, scores)
    interval = delong_interval(truth, scores[:, 0], 0.9)
    logit, error = np.log(theta[0] / (1 - theta[0])), np.sqrt(covariance[0, 0]) / (theta[0] * (1 - theta[0]))
    freedom = min(truth.sum(), (1 - truth).sum()) - 1
    expected = 1 / (1 + np.exp(-(logit + t.ppf([0.05, 0.95], freedom) * error)))
    assert [interval.low, interval.high] == pytest.approx(list(expected))
    assert (interval.method, interval.level) == ("delong", 0.9)

    found = delong_difference(truth, scores[:, 0], scores[:, 1])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    z = (theta[0] - theta[1]) / np.sqrt(variance)
    assert found.difference == pytest.approx(theta[0] - theta[1])
    assert found.p_value == pytest.approx(2 * t.sf(abs(z), freedom))
    ours, theirs = (delong_interval(truth, scores[:, k]) for k in (0, 1))
    rho = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    down, up = theta[0] - ours.low, theirs.high - theta[1]
    apart = np.sqrt(down**2 - 2 * rho * down * up + up**2)  # Donner and Zou 2012
    assert found.interval.low == pytest.approx(found.difference - apart, abs=2e-3)  # rho by 1 / n for 1 / (n - 1)
    other = delong_difference(truth, scores[:, 1], scores[:, 0])
    assert other.difference == -found.difference
    assert other.p_value == pytest.approx(found.p_value)


def test_order_and_flip() -> None:
    truth, scores = tied(60, 1)
    order = np.random.default_rng(0).permutation(60)
    interval = delong_interval(truth, scores[:, 0])
    shuffled = delong_interval(truth[order], scores[order, 0])
    assert [shuffled.low, shuffled.high] == pytest.approx([interval.low, interval.high], rel=1e-12)
    flipped = delong_interval(1 - truth, scores[:, 0])
    assert [1 - flipped.high, 1 - flipped.low] == pytest.approx([interval.low, interval.high])


def test_perfect_separation_is_bounded_by_disjoint_pairs() -> None:
    truth = np.r_[np.zeros(50), np.ones(20)]
    interval = delong_interval(truth, truth + np.arange(70) / 1000)
    assert interval.method == "pairs"
    assert interval.high == 1.0
    assert interval.low == pytest.approx(0.025 ** (1 / 20))
    assert "20 disjoint pairs" in (interval.note or "")
    upside_down = delong_interval(truth, -truth)
    assert (upside_down.low, upside_down.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_numbers_that_do_not_exist() -> None:
    one = delong_interval(np.array([0, 0, 0, 1]), np.array([0, 1, 3, 2]))
    assert (one.low, one.high) == (None, None)
    assert "needs two of each" in (one.note or "")
    assert delong_difference(np.array([0, 0, 1]), np.array([0, 2, 1]), np.array([1, 0, 2])).p_value is None
    with pytest.raises(Undefined, match="one class only: 3 positives, 0 negatives"):
        delong_interval(np.ones(3), np.arange(3))
    with pytest.raises(Undefined, match="NaN"):
        delong_interval(np.array([0, 1, 1]), np.array([0.1, np.nan, 0.2]))
    with pytest.raises(PredictionError, match="do not pair up"):
        delong_interval(np.array([0, 1]), np.arange(3))
    with pytest.raises(ValueError, match="level"):
        delong_interval(np.array([0, 1]), np.arange(2), 95)


def test_scores_without_any_variance() -> None:
    truth = np.array([0, 0, 1, 1])
    constant = delong_interval(truth, np.ones(4))
    assert (constant.low, constant.high) == (None, None)
    assert "no interval" in (constant.note or "")
    same = delong_difference(truth, np.array([0, 2, 1, 3]), np.array([0, 20, 10, 30]))
    assert (same.difference, same.p_value, same.interval.low, same.interval.high) == (0, 1, 0, 0)
    opposite = delong_difference(truth, truth, -truth)
    assert (opposite.difference, opposite.p_value, opposite.interval.high) == (1.0, None, 1.0)
    assert opposite.interval.low < 0  # two pairs say little
