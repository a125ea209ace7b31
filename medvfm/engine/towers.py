"""Outputs of frozen towers: computed once for each file or text, and handed to training in place of pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.capabilities import FeatureGivingAdapter, FeatureSharingAdapter, TowerAdapter
from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.engine.case_store import CaseStore
from medvfm.engine.context import RunContext
from medvfm.io.cache import ArrayCache, FeatureStore

BATCH_CASES = 8
MOST_BYTES = 2**29  # of outputs in memory


class TowerOutputs:
    """What each frozen tower gives of the cases of a store: named arrays, keyed by the tower's weights as they are now
    and by what it reads.

    A tower that reads a text is keyed by the text, one that reads images by the content of their files. A case without
    images has no key of files and is never stored under one: its outputs are computed when they are needed.
    """

    def __init__(self, adapter: TowerAdapter, frozen: frozenset[str]) -> None:
        self._adapter, self._frozen, self._arrays = adapter, sorted(frozen), ArrayCache("towers")
        self._names: dict[str, list[str]] = {}
        self._held: dict[str, Mapping[str, Array]] = {}  # what was read, as long as it is small: epochs read it again
        self._bytes = 0
        self._in_training: dict[tuple[int, int], dict[str, str]] = {}  # store and row to the keys of its outputs

    def fill(self, store: CaseStore, context: RunContext) -> None:
        """Compute what the cache lacks, in batches, before loader workers ask for it."""
        for tower in self._frozen:
            keys = [self._key(tower, store, case, files) for case, files in store.keyed]
            for row, key in enumerate(keys):
                if key:
                    self._in_training.setdefault((id(store), row), {})[tower] = key
            missing = {key: row for row, key in enumerate(keys) if key and self._listed(key) is None}
            shared = self._shared(tower, store, missing)
            rows = [(key, row) for key, row in missing.items() if key not in shared]
            starts = range(0, len(rows), BATCH_CASES)
            for start in context.console.track(starts, len(starts), f"{tower} tower: outputs computed"):
                part = rows[start : start + BATCH_CASES]
                items = [store.item(row, for_training=True, with_truth=False) for _, row in part]
                computed = self._computed(tower, items)
                for (key, _), arrays in zip(part, computed, strict=True):
                    self._put(key, arrays)
                self._share(tower, store, [row for _, row in part], computed)

    def added(self, item: Item, store: CaseStore, row: int) -> Item:
        """The item of a row with the outputs of the frozen towers, and without the arrays that these were made of."""
        towers = {tower: self._of(tower, item, store, row) for tower in self._frozen}
        of_images = any(self._adapter.tower_text(tower, item.case) is None for tower in self._frozen)
        return replace(item, towers=towers, arrays={} if of_images else item.arrays)

    def held(self, store: CaseStore, row: int) -> Item | None:
        """The same for training, where every output is in memory, without a look at the arrays.

        Keys are those of `fill`: what is frozen does not change while it trains the rest.
        """
        case, keys = store.keyed[row][0], self._in_training.get((id(store), row), {})
        of_images = any(self._adapter.tower_text(tower, case) is None for tower in self._frozen)
        if not of_images or any(keys.get(tower) not in self._held for tower in self._frozen):
            return None
        return Item(case, towers={tower: self._held[keys[tower]] for tower in self._frozen})

    def offered(self, item: Item, store: CaseStore, row: int) -> Item:
        """The item of a row that is to be answered: it keeps its arrays, and outputs are there for who asks for
        them. What is hidden from the item is hidden from its towers."""
        return replace(item, towers=_OnDemand(self._frozen, lambda tower: self._of(tower, item, store, row)))

    def _of(self, tower: str, item: Item, store: CaseStore, row: int) -> Mapping[str, Array]:
        key = self._key(tower, store, item.case, store.keyed[row][1])
        if key in self._held:
            return self._held[key]
        names = self._listed(key) if key else None
        if key and names is not None:
            found = {name: self._arrays.get(f"{key}-{name}") for name in names}
            if all(array is not None for array in found.values()):
                return self._hold(key, {name: array for name, array in found.items() if array is not None})
        (arrays,) = self._computed(tower, [item])
        if key:
            self._put(key, arrays)
        return arrays

    def _hold(self, key: str, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """The arrays, in memory where there is room."""
        size = sum(array.nbytes for array in arrays.values())
        if self._bytes + size > MOST_BYTES:
            return arrays
        self._bytes += size
        self._held[key] = {name: np.array(array) for name, array in arrays.items()}
        return self._held[key]

    def _shared(self, tower: str, store: CaseStore, missing: Mapping[str, int]) -> set[str]:
        """Keys whose outputs are there already as features of the same encoder, which are taken over."""
        place = self._features_of(tower)
        if place is None:
            return set()
        features_key, name = place
        files = {key: store.keyed[row][1] for key, row in missing.items()}
        found = FeatureStore(features_key).get([content for content in files.values() if content])
        taken = {key: found[content] for key, content in files.items() if content in found}
        for key, row in taken.items():
            self._put(key, {name: row})
        return set(taken)

    def _share(
        self, tower: str, store: CaseStore, rows: Sequence[int], computed: Sequence[Mapping[str, Array]]
    ) -> None:
        """Outputs as features, for a probe on the same encoder."""
        adapter = self._adapter
        place = adapter.tower_gives(tower) if isinstance(adapter, FeatureGivingAdapter) else self._features_of(tower)
        if place is not None:
            contents = [store.keyed[row][1] for row in rows]
            values = [arrays[place[1]] for arrays in computed]
            FeatureStore(place[0]).put({c: v for c, v in zip(contents, values, strict=True) if c})

    def _features_of(self, tower: str) -> tuple[str, str] | None:
        sharing = isinstance(self._adapter, FeatureSharingAdapter)
        return self._adapter.tower_features(tower) if sharing else None  # type: ignore[attr-defined]

    def _computed(self, tower: str, items: Sequence[Item]) -> list[dict[str, Array]]:
        with torch.inference_mode():
            given = {n: t.float().cpu().numpy() for n, t in self._adapter.embed_tower(tower, items).items()}
        return [{name: values[place] for name, values in given.items()} for place in range(len(items))]

    def _put(self, key: str, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            self._arrays.put(f"{key}-{name}", array)
        self._arrays.put(f"{key}-names", np.array(sorted(arrays)))
        self._names[key] = sorted(arrays)

    def _listed(self, key: str) -> list[str] | None:
        if key not in self._names:
            listed = self._arrays.get(f"{key}-names")
            if listed is None:
                return None
            self._names[key] = [str(name) for name in listed]
        return self._names[key]

    def _key(self, tower: str, store: CaseStore, case: Case, files: str) -> str | None:
        text = self._adapter.tower_text(tower, case)
        read = f"{store.reader.preparer.key()}-{files}" if files else ""
        if text is not None:
            read = "text-" + hashlib.sha256(text.encode()).hexdigest()
        return f"{self._adapter.tower_key(tower)}-{read}" if read else None


class _OnDemand(Mapping[str, Mapping[str, Array]]):
    """Outputs of towers by name, each found when it is asked for."""

    def __init__(self, names: Sequence[str], find: Callable[[str], Mapping[str, Array]]) -> None:
        self._names, self._find = names, find

    def __getitem__(self, tower: str) -> Mapping[str, Array]:
        if tower not in self._names:
            raise KeyError(tower)
        return self._find(tower)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
