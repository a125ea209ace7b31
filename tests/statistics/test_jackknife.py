"""Leaving out patients, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from medvfm.statistics.interval import Drawing
from medvfm.statistics.jackknife import Jackknifed
from medvfm.statistics.patients import Patients


def mean_of(values):
    return lambda counts: counts @ values / counts.sum(axis=1)


def made(values, within=(-np.inf, np.inf), patients=None, known=None):
    n = len(values)
    known = np.ones(n, dtype=bool) if known is None else known
    whose = Patients.of(np.arange(n) if patients is None else patients)
    weighed = mean_of(np.where(known, values, 0)) if known.all() else _known(values, known)
    return Jackknifed(weighed, float(values[known].mean()), whose, known, whose.among(known) - 1, within)


def _known(values, known):
    return lambda counts: counts[:, known] @ values[known] / counts[:, known].sum(axis=1)


def test_of_a_mean_it_is_students_interval():
    values = np.random.default_rng(0).normal(size=40)
    found = made(values).interval(Drawing(0.9))
    assert (found.low, found.high) == pytest.approx(t.interval(0.9, 39, values.mean(), values.std(ddof=1) / 40**0.5))


def test_within_0_and_1_it_is_made_on_the_logit_scale():
    values = np.random.default_rng(0).beta(8, 2, 40)
    mean = values.mean()
    half = t.ppf(0.975, 39) * values.std(ddof=1) / 40**0.5 / (mean * (1 - mean))
    found = made(values, (0, 1)).interval(Drawing())
    assert (found.low, found.high) == pytest.approx((expit(logit(mean) - half), expit(logit(mean) + half)))


def test_within_minus_1_and_1_it_is_made_by_fishers_z():
    values = np.random.default_rng(0).uniform(-1, 1, 40)
    mean = values.mean()
    half = t.ppf(0.975, 39) * values.std(ddof=1) / 40**0.5 / (1 - mean**2)
    found = made(values, (-1, 1)).interval(Drawing())
    assert (found.low, found.high) == pytest.approx(
        (np.tanh(np.arctanh(mean) - half), np.tanh(np.arctanh(mean) + half))
    )


def test_patients_of_cases_that_do_not_count_do_not_count():
    values = np.random.default_rng(0).normal(size=60)
    known = np.arange(60) < 40
    found, alone = made(values, known=known).interval(Drawing()), made(values[:40]).interval(Drawing())
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_what_is_undefined_without_a_patient_has_no_interval():
    def fragile(counts):
        return np.where(counts[:, :3].all(axis=1), counts[:, 3:].mean(axis=1), np.nan)

    whose = Patients.of(np.arange(20))
    found = Jackknifed(fragile, 1.0, whose, np.ones(20, dtype=bool), 19).interval(Drawing())
    assert found.low is None and found.note is not None and "undefined without one patient" in found.note
    flat = Jackknifed(lambda c: np.ones(len(c)), 1.0, whose, np.ones(20, dtype=bool), 19).interval(Drawing())
    assert flat.low is None
