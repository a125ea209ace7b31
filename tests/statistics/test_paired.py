"""Paired tests against enumeration, scipy, and their size where there is no difference."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, permutation_test

from medvfm.statistics.bootstrap import bootstrap_interval
from medvfm.statistics.paired import mcnemar_p, paired_bootstrap, sign_flip_p


def mean_of(values: np.ndarray):
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def test_paired_bootstrap_is_the_bootstrap_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0.8, 1, 80)
    b = a - rng.normal(0.1, 0.2, 80)
    found = paired_bootstrap(mean_of(a), mean_of(b), np.arange(80), seed=0)
    alone = bootstrap_interval(mean_of(a - b), np.arange(80), seed=0)
    assert found.difference == pytest.approx((a - b).mean())
    assert (found.interval.low, found.interval.high) == pytest.approx((alone.low, alone.high))
    assert found.p_value is not None
    assert found.p_value == pytest.approx(2 / 2001, rel=1)
    nothing = paired_bootstrap(mean_of(a), mean_of(a), np.arange(80), seed=0)
    assert (nothing.difference, nothing.p_value) == (0, 1)


def test_the_p_value_is_below_alpha_when_the_interval_leaves_out_zero() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        a = rng.normal(0.2, 1, 60)
        found = paired_bootstrap(mean_of(a), mean_of(np.zeros(60)), np.arange(60), seed=0)
        assert found.interval.low is not None
        assert found.interval.high is not None
        assert found.p_value is not None
        if abs(found.p_value - 0.05) > 0.005:
            assert (found.p_value < 0.05) == (found.interval.low > 0 or found.interval.high < 0)


def test_sign_flips_enumerated_by_patient() -> None:
    differences = np.array([0.3, -0.1, 0.2, 0.5, 0.4, -0.2, 0.1])
    patients = np.array(list("aabbcde"))
    sums = np.array([differences[patients == p].sum() for p in "abcde"])
    flips = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=5)]
    expected = np.mean([f >= abs(sums.sum()) - 1e-12 for f in flips])
    assert sign_flip_p(differences, patients, seed=0) == pytest.approx(expected)
    assert sign_flip_p(differences, patients, permutations=20_000, seed=0) == pytest.approx(expected)
    drawn = sign_flip_p(differences, patients, permutations=31, seed=0)  # fewer than 2 ** 5, so they are drawn
    assert 1 / 32 <= drawn <= 1


def test_drawn_sign_flips_agree_with_scipy() -> None:
    differences = np.random.default_rng(4).normal(0.25, 1, 40)
    theirs = permutation_test(
        (differences, np.zeros(40)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    ours = sign_flip_p(differences, np.arange(40), permutations=20_000, seed=1)
    assert ours == pytest.approx(theirs.pvalue, abs=0.012)
    assert ours == sign_flip_p(differences, np.arange(40), permutations=20_000, seed=1)


def test_sign_flips_keep_their_size_with_clusters() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 4)
    found = [
        sign_flip_p(rng.normal(size=20).repeat(4) + rng.normal(0, 0.2, 80), patients, permutations=300, seed=i)
        for i in range(400)
    ]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_sign_flips_without_values_or_differences() -> None:
    assert np.isnan(sign_flip_p(np.full(3, np.nan), np.arange(3), seed=0))
    assert sign_flip_p(np.zeros(30), np.arange(30), seed=0) == 1
    assert sign_flip_p(np.array([0.2, np.nan, 0.2]), np.arange(3), seed=0) == 0.5


def test_mcnemar_is_a_binomial_test_of_the_discordant_cases() -> None:
    a = np.array([1] * 10 + [0] * 3 + [1] * 20)
    b = np.array([0] * 10 + [1] * 3 + [1] * 20)
    assert mcnemar_p(a, b) == pytest.approx(2 * binom.cdf(3, 13, 0.5))
    assert mcnemar_p(b, a) == mcnemar_p(a, b)
    assert mcnemar_p(a, a) == 1
    with pytest.raises(ValueError, match="same cases"):
        mcnemar_p(a, b[1:])
