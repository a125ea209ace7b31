"""Order of the training cases: a pure function of seed and epoch, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MEGA = 50  # batches within which rows are sorted by length


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


def neighbours(
    rows: np.ndarray, groups: Sequence[str], lengths: Sequence[int], batch_size: int, seeds: Sequence[int]
) -> np.ndarray:
    """The rows in another order: those of one group one after the other, and like lengths in one batch.

    groups   of each row, by its number; "" for one that belongs to nobody
    lengths  of each row; all equal where they do not matter

    As in transformers, rows are sorted by length within parts of MEGA batches, so that chance remains; then whole
    batches change places.
    """
    rng = np.random.default_rng([*seeds, 2])
    gathered: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        gathered.setdefault(groups[row] or f"row {place}", []).append(int(row))
    bundles, parts, size = list(gathered.values()), [], 0
    part: list[list[int]] = []
    for bundle in bundles:
        part.append(bundle)
        size += len(bundle)
        if size >= MEGA * batch_size:
            parts.append(part)
            part, size = [], 0
    ordered: list[int] = []
    for one in [*parts, part]:
        for bundle in sorted(one, key=lambda b: -max(lengths[row] for row in b)):
            ordered += bundle
    batches = [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]
    short = [batches.pop()] if batches and len(batches[-1]) < batch_size else []
    mixed = [batches[n] for n in rng.permutation(len(batches))]
    return np.array([row for batch in [*mixed, *short] for row in batch], dtype=int)
