"""Two models on the same cases: is the difference more than chance?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from medvfm.statistics.bootstrap import Kind, Statistic, interval_and_draws
from medvfm.statistics.interval import Comparison

BLOCK = 2**22  # signs (float64) in a block: 32 MiB
ROUNDING = 1e-10  # a permuted difference this near to the observed one equals it


def paired_bootstrap(
    statistic_a: Statistic,
    statistic_b: Statistic,
    patients: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int,
    method: Kind = "percentile",
) -> Comparison:
    """Statistic a minus statistic b, both on the same resamples of patients.

    The p-value is that of the percentile interval which just touches 0: twice the smaller share of resamples on one
    side, counting the observed data as one more, so that it is never 0 (Davison and Hinkley 1997, section 4.4).
    """

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.asarray(statistic_a(weights), np.float64) - np.asarray(statistic_b(weights), np.float64)

    observed = float(difference(np.ones((1, len(patients)), np.int32))[0])
    interval, draws = interval_and_draws(
        difference, patients, level=level, resamples=resamples, seed=seed, method=method
    )
    if interval.low is None:
        alike = len(draws) > 0 and bool((draws == 0).all())
        return Comparison(observed, interval, 1.0 if alike else None, interval.note)
    side = min((draws <= 0).sum(), (draws >= 0).sum())
    return Comparison(observed, interval, float(min(1.0, 2 * (side + 1) / (len(draws) + 1))), interval.note)


def sign_flip_p(differences: np.ndarray, patients: np.ndarray, *, permutations: int = 10_000, seed: int) -> float:
    """Two-sided p-value that per-case differences (n,) have mean 0: signs flipped by patient (Fisher 1935).

    Under no difference the two models' values may be exchanged, for all cases of a patient together. All 2^P sign
    patterns are counted where they are no more than `permutations`; else that many are sampled, and the observed one is
    counted with them. Cases whose difference is NaN are left out. NaN where none remains.
    """
    differences = np.asarray(differences, dtype=np.float64)
    known = ~np.isnan(differences)
    if not known.any():
        return float("nan")
    codes, names = pd.factorize(np.asarray(patients)[known], sort=True)
    sums = np.bincount(codes, weights=differences[known], minlength=len(names))
    bound = abs(sums.sum()) - ROUNDING * np.abs(sums).sum()
    if len(names) < 60 and 2 ** len(names) <= permutations:
        bits = np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1
        return float((np.abs((2 * bits - 1) @ sums) >= bound).mean())
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    beyond, rows = 0, max(1, BLOCK // len(names))
    for start in range(0, permutations, rows):
        signs = 2.0 * generator.integers(0, 2, (min(rows, permutations - start), len(names)), dtype=np.int8) - 1
        beyond += int((np.abs(signs @ sums) >= bound).sum())
    return (beyond + 1) / (permutations + 1)


def mcnemar_p(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Exact two-sided p-value that two models are right equally often; one case a patient (McNemar 1947).

    right_a, right_b (n,) of 0/1. Only the cases on which one is right and the other wrong count; 1 where none is.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if right_a.shape != right_b.shape:
        raise ValueError(f"{right_a.shape} and {right_b.shape} are not of the same cases")
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
