"""Do intervals cover what they promise to cover? Simulations from models whose AUROC is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from medvfm.statistics.delong import SeparationDifference, delong_difference, delong_interval, separation
from medvfm.statistics.interval import APPROXIMATE, Drawing, Interval
from medvfm.statistics.means import Means
from medvfm.statistics.patients import Patients
from medvfm.statistics.proportion import score_interval
from medvfm.statistics.shares import FEW_OF_A_KIND, FEW_PATIENTS, Share


def binormal(rng: np.random.Generator, positives: int, negatives: int, auroc: float) -> tuple[np.ndarray, np.ndarray]:
    truth = np.r_[np.ones(positives, dtype=int), np.zeros(negatives, dtype=int)]
    return truth, rng.normal(size=len(truth)) + norm.ppf(auroc) * 2**0.5 * truth


def covered(intervals: list[Interval], true: float) -> float:
    """Of the intervals that exist."""
    ends = np.array([(i.low, i.high) for i in intervals if i.exists], dtype=float)
    return float(((ends[:, 0] <= true) & (true <= ends[:, 1])).mean())


def of_auroc(patients: int, cases: int, prevalence: float, auroc: float, repeats: int) -> list[Interval]:
    rng, found = np.random.default_rng(patients), []
    whose = np.repeat(np.arange(patients), cases)
    while len(found) < repeats:
        truth = (rng.random(len(whose)) < prevalence).astype(int)
        shared = rng.normal(size=patients)[whose]
        score = (shared + rng.normal(size=len(whose))) / 2**0.5 + norm.ppf(auroc) * 2**0.5 * truth
        if 0 < truth.sum() < len(truth):
            found.append(delong_interval(truth, score, patients=whose))
    return found


# Of 600 repetitions at 95% the standard error is 0.009.
@pytest.mark.parametrize(
    ("patients", "cases", "prevalence", "auroc", "least", "most"),
    [
        (200, 1, 0.5, 0.7, 0.93, 0.97),
        (200, 1, 0.05, 0.9, 0.92, 0.98),  # normal quantiles: 0.89
        (50, 3, 0.5, 0.9, 0.93, 0.98),  # percentiles of resamples: 0.85
        (66, 3, 0.05, 0.9, 0.92, 1.0),  # percentiles of resamples: 0.7
    ],
)
def test_auroc_covers(patients, cases, prevalence, auroc, least, most):
    found = of_auroc(patients, cases, prevalence, auroc, 600)
    assert least <= covered(found, auroc) <= most


def test_auroc_of_few_patients_of_a_class_is_marked():
    assert all(APPROXIMATE in (i.note or "") for i in of_auroc(60, 1, 0.05, 0.9, 40) if i.exists)
    assert not any(i.note for i in of_auroc(200, 1, 0.5, 0.7, 40))


@pytest.mark.parametrize("total", [10, 20, 30, 50, 100, 200, 1000])
def test_a_share_covers_wherever_it_lies(total):
    """Summed exactly over all that can happen; Wilson without its bound by Poisson covers 0.84."""
    ends = [score_interval(x / total, total, 0.95) for x in range(total + 1)]
    low, high = (np.array([getattr(i, end) for i in ends]) for end in ("low", "high"))
    for share in np.r_[np.linspace(0.5, 0.95, 91), 0.97, 0.98, 0.99]:
        chances = binom.pmf(np.arange(total + 1), total, share)
        found = chances[(low <= share) & (share <= high)].sum()
        assert found > 0.914
        if total >= FEW_PATIENTS and total * (1 - share) > 2 * FEW_OF_A_KIND:
            assert 0.928 < found < 0.972


@pytest.mark.parametrize("patients", [20, 60])
def test_the_mean_of_skewed_values_covers(patients):
    rng = np.random.default_rng(0)
    whose = Patients.of(np.arange(patients))
    intervals = [
        Means(rng.beta(8, 2, (patients, 1)), np.ones(1), whose, (0, 1)).interval(Drawing(0.95, 400)) for _ in range(600)
    ]
    assert covered(intervals, 0.8) == pytest.approx(0.95, abs=0.022)


def test_the_mean_over_patients_of_like_cases_covers():
    rng = np.random.default_rng(0)
    clustered, ignored = [], []
    for _ in range(400):
        values = (rng.normal(size=40).repeat(5) + rng.normal(0, 0.5, 200))[:, None]
        for labels, found in ((np.arange(40).repeat(5), clustered), (np.arange(200), ignored)):
            found.append(Means(values, np.ones(1), Patients.of(labels)).interval(Drawing(0.95, 400)))
    assert covered(clustered, 0) == pytest.approx(0.95, abs=0.03)
    assert covered(ignored, 0) < 0.75


def test_the_difference_of_two_aurocs_covers():
    rng, found = np.random.default_rng(0), []
    for _ in range(500):
        truth, shared = binormal(rng, 30, 60, 0.85)
        a, b = (separation(truth, shared + rng.normal(0, 0.6, 90)) for _ in range(2))
        found.append(SeparationDifference(a, b).interval(Drawing()))
    assert covered(found, 0) == pytest.approx(0.95, abs=0.03)


def test_the_difference_of_two_shares_covers():
    rng, found = np.random.default_rng(0), []
    for _ in range(800):
        ease = rng.random(40)
        a, b = (Share((ease + rng.normal(0, 0.2, 40) < 0.8) * 1.0, *WHOLE) for _ in range(2))
        found.append(a.minus(b).interval(Drawing()))
    assert covered(found, 0) == pytest.approx(0.95, abs=0.03)


WHOLE = (np.ones(40), np.zeros(40), Patients.of(np.arange(40)))


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
