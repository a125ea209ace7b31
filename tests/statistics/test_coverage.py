"""Do intervals cover what they promise to cover? Simulations from models whose AUROC is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from medvfm.statistics.bootstrap import mean_interval
from medvfm.statistics.delong import delong_difference, delong_interval
from medvfm.statistics.interval import FEW


def binormal(rng: np.random.Generator, positives: int, negatives: int, auroc: float) -> tuple[np.ndarray, np.ndarray]:
    truth = np.r_[np.ones(positives, dtype=int), np.zeros(negatives, dtype=int)]
    return truth, rng.normal(size=len(truth)) + norm.ppf(auroc) * 2**0.5 * truth


def coverage(positives: int, auroc: float, repeats: int = 1000) -> float:
    rng = np.random.default_rng(positives)
    found = [delong_interval(*binormal(rng, positives, 100, auroc)) for _ in range(repeats)]
    return float(np.mean([i.low is not None and i.high is not None and i.low <= auroc <= i.high for i in found]))


@pytest.mark.parametrize("auroc", [0.8, 0.9])
def test_delong_covers_and_few_positives_is_where_it_does_not(auroc: float) -> None:
    assert coverage(60, auroc) == pytest.approx(0.95, abs=0.02)
    assert coverage(FEW, auroc) > 0.91
    assert coverage(5, auroc) < 0.91


def test_the_bound_at_perfect_separation_covers() -> None:
    rng = np.random.default_rng(0)
    for auroc in (0.95, 0.99):
        found = [delong_interval(*binormal(rng, 8, 20, auroc)) for _ in range(1000)]
        bounds = [i.low for i in found if i.method == "pairs"]
        assert len(bounds) > 20
        assert all(low is not None and low <= auroc for low in bounds)


def test_the_paired_test_rejects_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    rejected = []
    for _ in range(800):
        truth, shared = binormal(rng, 40, 60, 0.85)
        a, b = (shared + rng.normal(0, 0.6, 100) for _ in range(2))
        p = delong_difference(truth, a, b).p_value
        rejected.append(p is not None and p < 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.022)


def test_the_patient_bootstrap_covers_where_cases_of_a_patient_are_alike() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    clustered, ignored = [], []
    for repeat in range(400):
        values = rng.normal(size=40).repeat(5) + rng.normal(0, 0.5, 200)
        for labels, hits in ((patients, clustered), (np.arange(200), ignored)):
            interval = mean_interval(values, labels, resamples=400, seed=repeat)
            hits.append(interval.low is not None and interval.high is not None and interval.low <= 0 <= interval.high)
    assert np.mean(clustered) > 0.9
    assert np.mean(ignored) < 0.75
