"""The studentised bootstrap against a slow one, and what cannot have an interval."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.statistics.bootstrap import patient_weights
from medvfm.statistics.interval import Drawing
from medvfm.statistics.means import Means, joined, over_folds
from medvfm.statistics.patients import Patients


def slow(values, patients, resamples, seed):
    """Resample by resample and patient by patient: (mean - value) / error, each of the ratio of sums."""

    def mean_and_error(rows):
        sums, counts = np.array([[values[patients == p].sum(), (patients == p).sum()] for p in rows]).T
        mean = sums.sum() / counts.sum()
        apart = (sums - mean * counts) / counts.sum()
        return mean, (len(rows) / (len(rows) - 1) * (apart**2).sum()) ** 0.5

    names = np.unique(patients)
    value, error = mean_and_error(names)
    pivots = []
    for counts in patient_weights(names, resamples, seed):
        mean, own = mean_and_error(np.repeat(names, counts))
        pivots.append((mean - value) / own)
    low, high = np.quantile(pivots, [0.025, 0.975])
    return value - high * error, value - low * error


def test_the_interval_is_that_of_the_slow_bootstrap():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(25), rng.integers(1, 4, 25))
    values = rng.beta(8, 2, len(patients))
    found = Means(values[:, None], np.ones(1), Patients.of(patients)).interval(Drawing(0.95, 300, 4))
    assert found.method == "bootstrap_t"
    assert (found.low, found.high) == pytest.approx(slow(values, patients, 300, 4))


def test_it_reaches_further_on_the_side_of_the_tail():
    values = np.r_[np.full(25, 0.9) + np.linspace(0, 0.05, 25), 0.1, 0.2, 0.3]
    found = Means(values[:, None], np.ones(1), Patients.of(np.arange(28)), (0, 1)).interval(Drawing())
    assert values.mean() - found.low > 1.3 * (found.high - values.mean())


def test_folds_and_targets_are_averaged_in_their_order():
    values = np.array([[0.2, np.nan], [0.4, 0.8], [0.6, 0.7], [np.nan, 0.5]])
    found = over_folds(values, np.array([0, 0, 1, 1]), Patients.of(np.arange(4)))
    assert found.value == pytest.approx(np.mean([np.mean([0.3, 0.8]), np.mean([0.6, 0.6])]))
    both = joined([found, found])
    assert both.value == pytest.approx(found.value)
    once, again = (m.interval(Drawing(0.95, 200)) for m in (found, both))
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_a_difference_is_taken_case_by_case():
    rng = np.random.default_rng(1)
    hard, whose = rng.random(40), Patients.of(np.arange(40))
    a, b = (Means((hard + rng.normal(0, 0.01, 40))[:, None], np.ones(1), whose, (0, 1)) for _ in range(2))
    apart = a.minus(b).interval(Drawing())
    alone = Means(a.values - b.values, np.ones(1), whose, (-1, 1)).interval(Drawing())
    assert (apart.low, apart.high) == pytest.approx((alone.low, alone.high))
    assert apart.high - apart.low < 0.02


@pytest.mark.parametrize("values", [np.full(9, 0.8), np.r_[0.8]])
def test_no_interval_where_nothing_varies(values):
    found = Means(values[:, None], np.ones(1), Patients.of(np.arange(len(values)))).interval(Drawing())
    assert found.low is None and found.note is not None and "no interval" in found.note


def test_where_resamples_do_not_vary_t_serves():
    values = np.r_[np.full(9, 1.0), 0.0]
    found = Means(values[:, None], np.ones(1), Patients.of(np.arange(10)), (0, 1)).interval(Drawing())
    assert found.method == "t" and found.note is not None and found.high == 1


def test_a_mean_of_structures_is_as_sure_as_the_one_that_fewest_patients_have():
    """Ten patients have one structure and five the other: Student's t of the five, not a bootstrap that blows up."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(0.9, 0.01, 10), rng.uniform(0.2, 0.95, 10)], axis=1)
    values[5:, 1] = np.nan
    found = Means(values, np.array([0.5, 0.5]), Patients.of(np.arange(10)), (0.0, 1.0))
    interval = found.interval(Drawing(0.95, 400))
    error = np.sqrt((found.influence**2).sum() * 10 / 9)
    assert interval.method == "t"
    assert interval.low == pytest.approx(found.value - 2.776445 * error)
    assert interval.high == pytest.approx(min(1, found.value + 2.776445 * error))
