"""Features of frozen models: computed once for each image, kept on disk, shared between recipes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medvfm.core.case import Case
from medvfm.core.protocols import Preparer
from medvfm.engine import loading
from medvfm.engine.context import RunContext
from medvfm.io.cache import FeatureStore

BATCH_CASES = 8


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """values (n, ...) float32 of the readable cases, in the order of `keyed`; the others with the reason."""

    keyed: list[tuple[Case, str]]
    values: np.ndarray
    left_out: list[tuple[str, str]]
    computed: int

    @property
    def cases(self) -> list[Case]:
        return [case for case, _ in self.keyed]


def compute(
    cases: Sequence[Case],
    preparer: Preparer,
    key: str,
    embed: Callable[[Sequence[Any]], torch.Tensor],
    around: RunContext,
    label: str,
) -> CachedFeatures:
    """Take what the store has and compute the rest; `embed` turns prepared cases into (b, ...) features."""
    keyed = loading.content_keys(cases, preparer, around.strict)
    store = FeatureStore(key)
    found = store.get(list({k for _, k in keyed.readable}))
    missing = [(case, k) for case, k in keyed.readable if k not in found]
    left_out = list(keyed.left_out)
    if missing:
        wanted = {k: (case, k) for case, k in missing}.values()  # the same image in two cases is encoded once
        batch: list[tuple[str, Any]] = []
        fresh: dict[str, np.ndarray] = {}
        for _, k, item in loading.made(list(wanted), preparer, around, label):
            if isinstance(item, str):
                left_out += [(case.case_id, item) for case, other in missing if other == k]
                continue
            batch.append((k, item))
            if len(batch) == BATCH_CASES:
                fresh |= _embedded(batch, embed)
                batch = []
        fresh |= _embedded(batch, embed)
        store.put(fresh)
        found |= fresh
    kept = [(case, k) for case, k in keyed.readable if k in found]
    values = np.stack([found[k] for _, k in kept]) if kept else np.zeros((0, 1), np.float32)
    return CachedFeatures(kept, values, left_out, len(missing))


def _embedded(batch: list[tuple[str, Any]], embed: Callable[[Sequence[Any]], torch.Tensor]) -> dict[str, np.ndarray]:
    if not batch:
        return {}
    values = embed([item for _, item in batch]).float().cpu().numpy()
    return {k: row for (k, _), row in zip(batch, values, strict=True)}
