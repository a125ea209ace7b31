"""Shares, F1 and their differences: closed forms, slow sums, and what is left where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from medvfm.statistics.interval import APPROXIMATE, Drawing
from medvfm.statistics.patients import Patients
from medvfm.statistics.shares import Share, f1_of_share, f1_slope, mean_of

AT95 = Drawing(0.95)


def share(hits, among=None, fold=None, patients=None, rises=None) -> Share:
    hits = np.asarray(hits, dtype=float)
    n = len(hits)
    return Share(
        hits,
        np.ones(n) if among is None else np.asarray(among, dtype=float),
        np.zeros(n) if fold is None else fold,
        Patients.of(np.arange(n) if patients is None else patients),
        rises,
    )


def ends(spread):
    found = spread.interval(AT95)
    return found.low, found.high


def wilson(hits, total):
    found = binomtest(hits, total).proportion_ci(0.95, "wilson")
    return found.low, found.high


def test_of_single_cases_it_is_wilsons_interval():
    hits = np.arange(60) < 44
    assert ends(share(hits)) == pytest.approx(wilson(44, 60))
    among = np.arange(60) < 50
    assert ends(share(hits, among)) == pytest.approx(wilson(44, 50))


def test_cases_three_times_are_worth_as_many_patients():
    hits, patients = np.arange(60) < 44, np.arange(60)
    clustered = ends(share(hits.repeat(3), patients=patients.repeat(3)))
    assert clustered == pytest.approx(wilson(44, 60), abs=0.006)  # t for z
    all_right = ends(share(np.ones(60), patients=np.arange(20).repeat(3)))
    assert all_right[1] == 1 and all_right[0] <= wilson(20, 20)[0]


def test_the_mean_over_folds_counts_as_the_pooled_share_where_folds_are_alike():
    hits = np.tile(np.arange(20) < 15, 4)
    assert ends(share(hits, fold=np.arange(80) // 20)) == pytest.approx(wilson(60, 80))


def test_f1_is_wilsons_interval_of_the_cases_in_which_someone_is_called():
    agreed, either = np.arange(50) < 24, np.arange(50) < 36  # TP 24, FP + FN 12: F1 = 48 / 60
    found = share(agreed, either, rises=(f1_of_share, f1_slope))
    low, high = wilson(24, 36)
    assert found.value == pytest.approx(0.8)
    assert ends(found) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


def test_the_slope_of_f1():
    at = np.array([0.2, 0.7])
    assert f1_slope(at) == pytest.approx((f1_of_share(at + 1e-6) - f1_of_share(at - 1e-6)) / 2e-6)


def test_sensitivity_and_specificity_are_added_in_squares():
    positive = np.arange(80) < 35
    hits = np.where(positive, np.arange(80) < 28, np.arange(80) < 70)
    parts = [share(hits & p, p) for p in (positive, ~positive)]
    found = mean_of(parts)
    (a, b), (p, q) = (28 / 35, 35 / 45), (wilson(28, 35), wilson(35, 45))
    low = (a + b) / 2 - (((a - p[0]) ** 2 + (b - q[0]) ** 2) ** 0.5) / 2
    high = (a + b) / 2 + (((p[1] - a) ** 2 + (q[1] - b) ** 2) ** 0.5) / 2
    assert ends(found) == pytest.approx((low, high))


def test_the_paired_difference_is_newcombes():
    """His method 10 without its correction of the correlation, written out (Newcombe 1998, Statistics in Medicine)."""
    table = {(1, 1): 36, (1, 0): 12, (0, 1): 4, (0, 0): 18}
    a, b = (np.concatenate([np.full(n, pair[k]) for pair, n in table.items()]) for k in (0, 1))
    n, p, q = 70, 48 / 70, 40 / 70
    (low_p, high_p), (low_q, high_q) = wilson(48, n), wilson(40, n)
    phi = (36 * 18 - 12 * 4) / (48 * 22 * 40 * 30) ** 0.5
    down, up = (p - low_p, high_q - q), (high_p - p, q - low_q)
    root = lambda e: (e[0] ** 2 - 2 * phi * e[0] * e[1] + e[1] ** 2) ** 0.5  # noqa: E731
    found = share(a).minus(share(b))
    assert found.value == pytest.approx(8 / 70)
    assert ends(found) == pytest.approx((p - q - root(down), p - q + root(up)))


def test_alike_answers_differ_by_nothing():
    hits = np.arange(60) < 44
    low, high = ends(share(hits).minus(share(hits)))
    assert -0.03 < low <= 0 <= high < 0.03


def test_marks_and_refusals():
    assert share(np.arange(60) < 44).interval(AT95).note is None
    assert APPROXIMATE in share(np.arange(12) < 7).interval(AT95).note
    assert APPROXIMATE in share(np.arange(200) < 198).interval(AT95).note
    alone = share(np.ones(5), patients=np.zeros(5)).interval(AT95)
    assert alone.low is None and "one patient" in alone.note.replace("1 patient", "one patient")
