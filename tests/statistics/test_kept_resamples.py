"""A mean keeps its resamples: asked twice, at other levels, seeds and numbers, it answers as a fresh one does."""

from __future__ import annotations

import numpy as np

from medvfm.statistics.interval import Drawing
from medvfm.statistics.means import Means
from medvfm.statistics.patients import Patients


def test_a_mean_that_was_asked_before_answers_as_a_fresh_one():
    values = np.random.default_rng(0).beta(8, 2, (60, 1))

    def fresh() -> Means:
        return Means(values, np.ones(1), Patients.of(np.arange(60) // 2), (0.0, 1.0))

    asked = [Drawing(level=level, resamples=n, seed=s) for level in (0.95, 0.8) for n in (200, 400) for s in (0, 1)]
    one = fresh()
    kept = [one.interval(drawing) for drawing in asked]
    assert kept == [fresh().interval(drawing) for drawing in asked]
    assert len({(found.low, found.high) for found in kept}) == len(asked)
