"""Are two AUROC on the same cases apart? By exchanging the two models' ranks of a patient's cases.

Venkatraman and Begg 1996 (Biometrika 83, 835); Bandos, Rockette and Gur 2005 (Statistics in Medicine 24, 2873): scores
become ranks first, since two models' scores need not be on one scale; without a difference a patient's ranks might as
well be the other model's.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from medvfm.core.errors import PredictionError
from medvfm.statistics.delong import Ranks, Separation

BLOCK = 2**21  # scores that are ranked at once
ROUNDING = 1e-12


def exchange_p(ours: Separation, theirs: Separation, *, permutations: int = 2000, seed: int) -> float:
    """Two-sided p-value of no difference between two AUROC, or means of AUROC over parts, of the same cases.

    All 2^P exchanges are counted where they are no more than `permutations`; else that many are sampled, and the
    observed one is counted with them.
    """
    if len(ours.parts) != len(theirs.parts):
        raise PredictionError("the two models' scores have not the same parts")
    pairs = [_ranked(a, b) for a, b in zip(ours.parts, theirs.parts, strict=True)]
    involved = np.unique(np.concatenate([ours.patients.codes[part.rows] for part in ours.parts]))
    place = np.full(ours.patients.count, -1)
    place[involved] = np.arange(len(involved))
    owners = [place[ours.patients.codes[part.rows]] for part in ours.parts]
    count = len(involved)
    bound = abs(_differences(pairs, owners, np.zeros((1, count), dtype=bool))[0]) - ROUNDING
    whole = count < 40 and 2**count <= permutations
    total = 2**count if whole else permutations
    rows = max(1, BLOCK // max(1, sum(len(a) for a, _, _ in pairs)))
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    beyond = 0
    for start in range(0, total, rows):
        number = np.arange(start, min(start + rows, total))
        swapped = (
            (number[:, None] >> np.arange(count) & 1).astype(bool)
            if whole
            else generator.integers(0, 2, (len(number), count), dtype=np.int8).astype(bool)
        )
        beyond += int((np.abs(_differences(pairs, owners, swapped)) >= bound).sum())
    return beyond / total if whole else (beyond + 1) / (total + 1)


Pair = tuple[np.ndarray, np.ndarray, np.ndarray]  # ranks by the two models, and which cases are positive


def _ranked(one: Ranks, other: Ranks) -> Pair:
    if not (np.array_equal(one.rows, other.rows) and np.array_equal(one.truth, other.truth)):
        raise PredictionError("the two models' scores are not of the same cases")
    return rankdata(one.score), rankdata(other.score), np.asarray(one.truth) == 1


def _differences(pairs: list[Pair], owners: list[np.ndarray], swapped: np.ndarray) -> np.ndarray:
    """(r,) AUROC of the first less that of the second, where the patients of each row of `swapped` are exchanged."""
    found = []
    for (a, b, positive), whose in zip(pairs, owners, strict=True):
        turned = swapped[:, whose]
        found.append(_auroc(np.where(turned, b, a), positive) - _auroc(np.where(turned, a, b), positive))
    return np.asarray(np.mean(found, axis=0))


def _auroc(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(r,) from ranks (r, n), ties counted half (Mann and Whitney 1947)."""
    m, n = int(positive.sum()), int((~positive).sum())
    sums = rankdata(scores, axis=1)[:, positive].sum(axis=1)
    return np.asarray((sums - m * (m + 1) / 2) / (m * n))
