"""Tests of paired differences, against statsmodels, scipy and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from medvfm.statistics.delong import delong_difference, separation
from medvfm.statistics.difference import contributions, paired_test
from medvfm.statistics.interval import Drawing
from medvfm.statistics.jackknife import Jackknifed
from medvfm.statistics.means import over_folds
from medvfm.statistics.patients import Patients
from medvfm.statistics.shares import Share, mean_of

DRAWING = Drawing(seed=3)


def share(hits: np.ndarray, patients: np.ndarray | None = None, among: np.ndarray | None = None) -> Share:
    whose = Patients.of(np.arange(len(hits)) if patients is None else patients)
    return Share(hits.astype(float), np.ones(len(hits)) if among is None else among, np.zeros(len(hits)), whose)


def test_shares_of_single_cases_have_mcnemars_exact_test_as_statsmodels_has_it() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(80) < 0.8, rng.random(80) < 0.6
    found = paired_test(share(a).minus(share(b)), DRAWING)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert found.test == "mcnemar"
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_shares_of_patients_with_several_cases_are_exchanged_patient_by_patient() -> None:
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(8), [1, 2, 3, 1, 2, 3, 2, 2])
    a, b = rng.random(16) < 0.9, rng.random(16) < 0.4
    found = paired_test(share(a, patients).minus(share(b, patients)), DRAWING)
    gaps = np.array([(a[patients == p].astype(int) - b[patients == p]).sum() for p in range(8)])
    flips = [abs(np.dot(signs, gaps)) for signs in product((-1, 1), repeat=8)]
    assert found.test == "sign_flip"
    assert found.p == pytest.approx(np.mean([f >= abs(gaps.sum()) - 1e-9 for f in flips]))


def test_means_are_tested_by_turning_signs_as_scipy_does() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((9, 1)), rng.random((9, 1)) - 0.2
    whose, fold = Patients.of(np.arange(9)), np.zeros(9)
    apart = over_folds(a, fold, whose).minus(over_folds(b, fold, whose))
    there = stats.permutation_test((a[:, 0] - b[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert paired_test(apart, DRAWING).p == pytest.approx(there.pvalue)
    assert contributions(apart).sum() == pytest.approx((a - b).mean())


def test_auroc_of_one_part_has_delongs_p_value_and_of_several_that_of_their_sum() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(90) < 0.4).astype(int)
    a, b = truth + rng.normal(0, 1, 90), truth * 0.4 + rng.normal(0, 1, 90)
    found = paired_test(separation(truth, a).minus(separation(truth, b)), DRAWING)
    assert found.test == "delong"
    assert found.p == pytest.approx(delong_difference(truth, a, b).p_value)
    clustered = paired_test(
        separation(truth, a, np.arange(90) // 3).minus(separation(truth, b, np.arange(90) // 3)), DRAWING
    )
    assert clustered.test == "obuchowski"


def test_any_other_number_is_tested_by_its_interval_a_mean_as_students_t_is() -> None:
    values = np.random.default_rng(4).normal(0.4, 1, 30)
    whose = Patients.of(np.arange(30))
    apart = Jackknifed(
        lambda counts: (counts @ values) / counts.sum(axis=1), float(values.mean()), whose, np.ones(30, bool), 29
    )
    found = paired_test(apart, DRAWING)
    assert found.test == "interval"
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)


def test_what_is_the_same_is_never_apart() -> None:
    rng = np.random.default_rng(5)
    truth, score = (rng.random(40) < 0.5).astype(int), rng.random(40)
    hits = share(rng.random(40) < 0.7)
    for mine in (separation(truth, score), hits, mean_of([hits, share(rng.random(40) < 0.5)])):
        found = paired_test(mine.minus(mine), DRAWING)
        assert (found.p, found.note) == (1.0, "no case tells the two apart")


def test_shares_among_other_cases_are_tested_by_their_interval() -> None:
    rng = np.random.default_rng(6)
    one, other = (rng.random(60) < 0.6).astype(float), (rng.random(60) < 0.6).astype(float)
    a = share((rng.random(60) < 0.9) * one, among=one)
    b = share((rng.random(60) < 0.3) * other, among=other)
    apart = a.minus(b)
    found = paired_test(apart, DRAWING)
    assert found.test == "interval"
    at = apart.interval(Drawing(1 - found.p))
    assert min(abs(at.low), abs(at.high)) < 1e-6
