"""The mean of several draws of a prediction: its value, its resamples, and what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.statistics.estimand import Estimand, mean_of_draws
from medvfm.statistics.interval import Interval

SPEC = MetricSpec("mean", Metric(np.mean, takes="score", better="higher"), None)


def estimand(values: np.ndarray, **more) -> Estimand:
    """The mean of values over the cases of a resample."""
    known = np.ones(len(values), dtype=bool)
    made = {"statistic": lambda counts: counts @ values / counts.sum(axis=1), "notes": ("rests on few",)}
    return Estimand(SPEC, "a", float(values.mean()), known, values=values, **made | more)


def test_one_draw_stays_as_it_is():
    one = estimand(np.arange(5.0))
    assert mean_of_draws([one]) is one


def test_draws_are_averaged_within_each_resample():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(3, 20))
    found = mean_of_draws([estimand(values) for values in draws])
    assert found.value == pytest.approx(draws.mean())
    counts = rng.integers(0, 4, (50, 20))
    expected = [np.repeat(draws, row, axis=1).mean() for row in counts]  # each case as often as it is drawn
    np.testing.assert_allclose(found.statistic(counts), expected)
    assert found.notes == ("the mean of 3 draws", "rests on few")
    assert found.minus is None and found.values is None


def test_what_holds_of_one_draw_does_not_hold_of_the_mean():
    draw = estimand(np.arange(4.0), closed_form=lambda level: Interval(0, 1, level, "delong"))
    assert mean_of_draws([draw, draw]).closed_form is None
    without = estimand(np.arange(4.0), statistic=None)
    assert mean_of_draws([draw, without]).statistic is None  # no interval from half of what is averaged


def test_draws_without_a_value_are_left_out_and_counted():
    empty = Estimand(SPEC, "a", None, np.zeros(4, dtype=bool), reason="one class only")
    found = mean_of_draws([empty, estimand(np.ones(4)), estimand(np.full(4, 3.0))])
    assert found.value == 2.0 and found.reason is None
    assert found.notes[0] == "the mean of 2 draws"
    assert mean_of_draws([empty, empty]).reason == "one class only"
