"""Features of frozen models: computed once for each image, kept on disk, shared between recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.engine import case_reading
from medvfm.engine.case_reading import PreparedReader
from medvfm.engine.context import RunContext
from medvfm.io.cache import FeatureStore

BATCH_CASES = 8


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """values (n, ...) float32 of the readable cases, in the order of `keyed`; the others with the reason."""

    keyed: list[tuple[Case, str]]
    values: Array
    left_out: list[tuple[str, str]]
    computed: int


def compute(
    cases: Sequence[Case],
    reader: PreparedReader,
    key: str,
    embed: Callable[[Sequence[Item]], torch.Tensor],
    context: RunContext,
    label: str,
) -> CachedFeatures:
    """Take what the store has and compute the rest; `embed` turns items into (b, ...) features.

    A case that reads no file has no key: its features are computed each time, and never stored under a key of files.
    """
    keyed = case_reading.content_keys(cases, reader, context.strict)
    store = FeatureStore(key)
    names = [k or f"case {case.case_id}" for case, k in keyed.readable]
    found = store.get(list({k for _, k in keyed.readable if k}))
    missing = [(pair, name) for pair, name in zip(keyed.readable, names, strict=True) if name not in found]
    left_out = list(keyed.left_out)
    if missing:
        wanted = {name: pair for pair, name in missing}  # the same image in two cases is encoded once
        batch: list[tuple[str, Item]] = []
        fresh: dict[str, Array] = {}
        read = case_reading.read_cases(list(wanted.values()), reader, reader.key(), context, label)
        for name, (case, _, arrays) in zip(wanted, read, strict=True):
            if isinstance(arrays, str):
                left_out += [(other.case_id, arrays) for (other, _), n in missing if n == name]
                continue
            batch.append((name, Item(case, arrays)))
            if len(batch) == BATCH_CASES:
                fresh.update(_embedded(batch, embed))
                batch = []
        fresh.update(_embedded(batch, embed))
        store.put({name: row for name, row in fresh.items() if wanted[name][1]})
        found |= fresh
    kept = [(pair, name) for pair, name in zip(keyed.readable, names, strict=True) if name in found]
    values = np.stack([found[name] for _, name in kept]) if kept else np.zeros((0, 1), np.float32)
    return CachedFeatures([pair for pair, _ in kept], values, left_out, len(missing))


def _embedded(batch: list[tuple[str, Item]], embed: Callable[[Sequence[Item]], torch.Tensor]) -> Mapping[str, Array]:
    if not batch:
        return {}
    values = embed([item for _, item in batch]).float().cpu().numpy()
    return {name: row for (name, _), row in zip(batch, values, strict=True)}
