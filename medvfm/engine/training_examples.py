"""Training examples of an epoch, in batches: drawn by the seed, the same in any process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Dataset

from medvfm.core.array import Array
from medvfm.core.capabilities import NeighbourlyAdapter, TowerStartingAdapter
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Batch
from medvfm.engine.case_store import CaseStore
from medvfm.engine.context import RunContext
from medvfm.engine.towers import TowerOutputs
from medvfm.nn import augment, samplers


class Examples(Dataset[object]):
    """Training examples of an epoch: each depends on (seed, epoch, place in the epoch) alone, in any process."""

    def __init__(
        self,
        adapter: Adapter,
        store: CaseStore,
        rows: Array,
        transform: augment.Transform,
        towers: TowerOutputs | None,
        labels: Array | None,
        balanced: bool,
    ) -> None:
        self._adapter, self._store, self._cases, self._transform = adapter, store, rows, transform
        self._towers, self._labels, self._balanced = towers, labels, balanced
        self._rows = np.zeros(0, int)
        self._near: list[tuple[str, int] | None] | None = None
        self._seeds = (0, 0)

    def plan(self, count: int, seed: int, epoch: int, batch_size: int = 1) -> None:
        """Every case once before any case twice; or each class equally often. An adapter may want some of them in one
        batch."""
        seeds = (seed, epoch) if self._labels is not None else (seed, epoch, 1)
        order = samplers.order(len(self._cases), self._labels if self._balanced else None, count=count, seeds=seeds)
        if isinstance(self._adapter, NeighbourlyAdapter):
            if self._near is None:
                self._near = [self._adapter.neighbours(self._store.keyed[int(row)][0]) for row in self._cases]
            known = [near for near in self._near if near is not None]
            if len(known) == len(self._near):
                order = samplers.neighbours(order, [g for g, _ in known], [n for _, n in known], batch_size, seeds)
        self._rows, self._seeds = self._cases[order], (seed, epoch)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> object:
        rng = np.random.default_rng([*self._seeds, place])
        item = training_item(self._store, int(self._rows[place]), self._towers)
        return self._adapter.example(item, rng, lambda pixels, labels: self._transform(pixels, labels, rng))  # type: ignore[arg-type]


def loaded(examples: Examples, batch_size: int, adapter: Adapter, context: RunContext) -> Iterator[tuple[Batch, int]]:
    """Batches, and of how many examples each is; workers draw beside a GPU."""
    beside = 0 if context.device == "cpu" else context.workers
    loader = DataLoader(examples, batch_size=batch_size, collate_fn=list, num_workers=beside)
    for batch in loader:
        yield adapter.collate(batch), len(batch)


def training_item(store: CaseStore, row: int, towers: TowerOutputs | None) -> Item:
    held = None if towers is None or store.reader.truth is not None else towers.held(store, row)
    if held is not None:
        return held
    item = store.item(row, for_training=True, with_truth=True)
    return item if towers is None else towers.added(item, store, row)


def start_from_towers(
    adapter: Adapter, towers: TowerOutputs | None, store: CaseStore, train: Array, context: RunContext | None
) -> None:
    """Fit what an adapter fits in closed form on outputs of `towers` of the rows `train`; see TowerStartingAdapter."""
    if towers is None or context is None or not isinstance(adapter, TowerStartingAdapter):
        return
    if adapter.starts_from_towers:
        towers.fill(store, context)
        adapter.start_from_towers(training_item(store, int(row), towers) for row in train)


def rng_of(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the seed and a case alone."""
    return np.random.default_rng([seed, *name.encode()])


def unchanged(pixels: Array, labels: Array | None) -> tuple[Array, Array | None]:
    return pixels, labels
