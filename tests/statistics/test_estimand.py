"""The mean of several draws of a prediction: its value, its resamples, and what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.statistics.estimand import FEW, Estimand, few_patients, mean_of_draws
from medvfm.statistics.interval import Drawing

SPEC = MetricSpec("mean", Metric(np.mean, takes="score", better="higher"), None)


def estimand(values: np.ndarray, **more) -> Estimand:
    """The mean of values over the cases of a resample."""
    known = np.ones(len(values), dtype=bool)
    made = {"statistic": lambda counts: counts @ values / counts.sum(axis=1), "notes": ("rests on few",)}
    return Estimand(SPEC, "a", float(values.mean()), known, values=values, **made | more)


def test_one_draw_stays_as_it_is():
    one = estimand(np.arange(5.0))
    assert mean_of_draws([one], np.arange(5)) is one


def test_draws_are_averaged_within_each_resample():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(3, 20))
    found = mean_of_draws([estimand(values) for values in draws], np.arange(20))
    assert found.value == pytest.approx(draws.mean())
    counts = rng.integers(0, 4, (50, 20))
    expected = [np.repeat(draws, row, axis=1).mean() for row in counts]  # each case as often as it is drawn
    np.testing.assert_allclose(found.statistic(counts), expected)
    assert found.notes == ("the mean of 3 draws", "rests on few")
    assert found.minus is None and found.values is None


def test_the_interval_of_a_mean_of_draws_leaves_out_patients():
    draws = np.random.default_rng(1).normal(size=(3, 20))
    found = mean_of_draws([estimand(values) for values in draws], np.arange(20))
    interval = found.spread.interval(Drawing())
    expected = t.interval(0.95, 19, draws.mean(), draws.mean(0).std(ddof=1) / 20**0.5)
    assert (interval.low, interval.high) == pytest.approx(expected)
    without = estimand(np.arange(4.0), statistic=None)
    mean = mean_of_draws([estimand(np.arange(4.0)), without], np.arange(4))
    assert mean.statistic is None and mean.spread is None  # no interval from half of what is averaged


def test_few_patients_are_named():
    assert few_patients([(7, "with the finding"), (1000, "without the finding")]) == (
        "only 7 patients with the finding: the interval is unreliable"
    )
    assert few_patients([(1, "")]) == "only 1 patient: the interval is unreliable"
    both = few_patients([(3, "with x"), (2, "without x")])
    assert both == "only 3 patients with x and 2 patients without x: the interval is unreliable"
    assert few_patients([(FEW, "")]) is None


def test_draws_without_a_value_are_left_out_and_counted():
    empty = Estimand(SPEC, "a", None, np.zeros(4, dtype=bool), reason="one class only")
    found = mean_of_draws([empty, estimand(np.ones(4)), estimand(np.full(4, 3.0))], np.arange(4))
    assert found.value == 2.0 and found.reason is None
    assert found.notes[0] == "the mean of 2 draws"
    assert mean_of_draws([empty, empty], np.arange(4)).reason == "one class only"
