"""Order of the training cases: a pure function of seed and epoch, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def order(n: int, balance: np.ndarray | None, *, count: int, seeds: Sequence[int]) -> np.ndarray:
    """(count,) row numbers of n cases: every row once before any row twice.

    balance  truth (n, T): each class, and `none of them`, is drawn equally often
    """
    rng = np.random.default_rng(list(seeds))
    if balance is None:
        rounds = [rng.permutation(n) for _ in range(-(-count // n))]
        return np.concatenate(rounds)[:count]
    positive = np.nan_to_num(balance) > 0.5
    groups = [np.flatnonzero(positive[:, t]) for t in range(balance.shape[1])] + [np.flatnonzero(~positive.any(axis=1))]
    groups = [g for g in groups if len(g)]
    sampled = [rng.choice(g, size=-(-count // len(groups))) for g in groups]
    return rng.permutation(np.concatenate(sampled))[:count]
