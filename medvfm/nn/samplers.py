"""Order of the training cases: a pure function of seed and epoch, so that a resumed run sees the same."""

from __future__ import annotations

import numpy as np


def order(truth: np.ndarray, *, count: int, balanced: bool, seed: int, epoch: int) -> np.ndarray:
    """(count,) row numbers of truth (n, T). Balanced: each class, and `none of them`, is sampled equally often.

    Otherwise every row once before any row twice.
    """
    rng = np.random.default_rng([seed, epoch])
    n = len(truth)
    if not balanced:
        rounds = [rng.permutation(n) for _ in range(-(-count // n))]
        return np.concatenate(rounds)[:count]
    positive = np.nan_to_num(truth) > 0.5
    groups = [np.flatnonzero(positive[:, t]) for t in range(truth.shape[1])] + [np.flatnonzero(~positive.any(axis=1))]
    groups = [g for g in groups if len(g)]
    sampled = [rng.choice(g, size=-(-count // len(groups))) for g in groups]
    return rng.permutation(np.concatenate(sampled))[:count]
