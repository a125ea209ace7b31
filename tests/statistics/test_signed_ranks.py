"""Signed ranks and exchanged ranks against scipy, R's documented example, and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from medvfm.statistics.delong import delong_difference, separation
from medvfm.statistics.exchange import exchange_p
from medvfm.statistics.signed_ranks import hodges_lehmann, wilcoxon_p

# R's wilcox.test: depression scores of nine patients (Hollander and Wolfe 1973, p. 29), p one-sided 0.01953.
FIRST = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
SECOND = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


def test_wilcoxon_is_the_example_of_r_and_scipys() -> None:
    assert wilcoxon_p(FIRST - SECOND) == pytest.approx(2 * 0.01953, abs=2e-5)
    rng = np.random.default_rng(0)
    many = np.round(rng.normal(0.1, 1, 60), 1)
    assert wilcoxon_p(many) == pytest.approx(wilcoxon(many, zero_method="pratt", method="approx").pvalue)
    assert np.isnan(wilcoxon_p(np.zeros(5)))


@pytest.mark.parametrize("n", [9, 20, 40])
def test_the_shift_and_its_ends_are_where_the_test_turns(n) -> None:
    rng = np.random.default_rng(n)
    values = FIRST - SECOND if n == 9 else rng.normal(0.3, 1, n)
    shift, interval = hodges_lehmann(values)
    walsh = [(a + b) / 2 for k, a in enumerate(values) for b in values[k:]]
    assert shift == pytest.approx(np.median(walsh))
    for end, inward in ((interval.low, 1), (interval.high, -1)):
        method = "exact" if n <= 25 else "approx"
        assert wilcoxon(values - end + inward * 1e-9, method=method).pvalue < 0.05 + (n > 25) * 2e-3
        assert wilcoxon(values - end - inward * 1e-9, method=method).pvalue > 0.05 - (n > 25) * 2e-3
    if n == 9:  # as Hollander and Wolfe have it
        assert shift == pytest.approx(0.46)
        assert interval.low == pytest.approx(0.010)
        assert interval.high == pytest.approx(0.786)
    assert not hodges_lehmann(values[:4])[1].exists


def ranks(values):
    return np.argsort(np.argsort(values)) + 1


def test_exchanged_ranks_are_all_exchanges_enumerated_by_patient() -> None:
    rng = np.random.default_rng(1)
    truth, patients = np.tile([0, 1], 8), np.arange(16) // 2
    a, b = rng.normal(truth, 1), rng.normal(truth * 0.5, 1)
    ra, rb = ranks(a), ranks(b)
    gaps = []
    for swap in product((False, True), repeat=8):
        turned = np.array(swap)[patients]
        one, other = np.where(turned, rb, ra), np.where(turned, ra, rb)
        gaps.append(abs(roc_auc_score(truth, one) - roc_auc_score(truth, other)))
    observed = abs(roc_auc_score(truth, a) - roc_auc_score(truth, b))
    found = exchange_p(separation(truth, a, patients), separation(truth, b, patients), permutations=300, seed=0)
    assert found == pytest.approx(np.mean(np.array(gaps) >= observed - 1e-12))


def test_exchanged_ranks_agree_with_delong_where_there_are_many_cases_and_hold_their_size() -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random(200) < 0.4).astype(int)
    a, b = rng.normal(truth, 1), rng.normal(truth * 0.6, 1)
    found = exchange_p(separation(truth, a), separation(truth, np.exp(b)), permutations=2000, seed=0)
    assert found == pytest.approx(delong_difference(truth, a, b).p_value, abs=0.02)
    small = []
    for _ in range(120):
        y = np.tile([0, 1], 20)
        small.append(
            exchange_p(separation(y, rng.normal(y, 1)), separation(y, rng.normal(y, 1)), permutations=99, seed=0)
        )
    assert np.mean(np.array(small) <= 0.05) < 0.12
