"""Prepared arrays of cases and their truth: read once, memory-mapped from the cache after that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.item import PIXELS, Item
from medvfm.core.protocols import Preparer, Task, TruthReader
from medvfm.core.slice_grid import SliceGrid
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine import case_reading
from medvfm.engine.case_reading import PreparedReader
from medvfm.engine.context import RunContext
from medvfm.io import cache


class CaseStore:
    """Rows of cases as what a model sees, and their truth on the grid of the image.

    Arrays are keyed by the preparer and the content of the files: one image serves many questions, and a text never
    goes stale in a cache. (SAM's image embeddings have a cache of their own, keyed by slice: models/sam.)
    """

    def __init__(self, preparer: Preparer, truth: TruthReader | None, task: Task) -> None:
        self.preparer, self.task = preparer, task
        self._reader, self._arrays = PreparedReader(preparer, truth), cache.ArrayCache("cases")
        self._keyed: list[tuple[Case, str]] = []
        self._parts: dict[str, list[str]] = {}
        self._hidden = task.hidden_arrays if isinstance(task, MakingTask) else frozenset[str]()

    @property
    def cases(self) -> list[Case]:
        return [case for case, _ in self._keyed]

    @property
    def reader(self) -> PreparedReader:
        return self._reader

    @property
    def keyed(self) -> list[tuple[Case, str]]:
        return self._keyed

    def read(self, cases: Sequence[Case], context: RunContext, label: str = "cases read") -> list[tuple[str, str]]:
        """Read what the cache lacks; (case_id, reason) of the cases that cannot be used."""
        keyed = case_reading.content_keys(cases, self._reader, context.strict)
        missing = [(case, key) for case, key in keyed.readable if key and not self._arrays.has(self._name(key, "all"))]
        bad: dict[str, str] = {}
        if missing:
            for case, key, item in case_reading.read_cases(missing, self._reader, self._reader.key(), context, label):
                if isinstance(item, str):
                    bad[case.case_id] = item
                else:
                    self._put(key, item)
        self.use([(case, key) for case, key in keyed.readable if case.case_id not in bad])
        return [*keyed.left_out, *bad.items()]

    def use(self, keyed: Sequence[tuple[Case, str]]) -> None:
        """Take cases whose content has been read elsewhere; arrays are prepared when they are needed."""
        self._keyed = list(keyed)

    def fingerprints(self, context: RunContext) -> list[str | None]:
        """`leakage.fingerprint` of the prepared pixels of each row; None for a case without pixels."""
        return case_reading.fingerprints(self._keyed, self._reader, context)

    def item(self, row: int, *, for_training: bool, with_truth: bool) -> Item:
        """A case as the model sees it. Truth is hidden from an item that is to be answered, unless it is a prompt."""
        case, _ = self._keyed[row]
        left_out = {"truth", "model_truth", *(() if for_training else self._hidden)}
        arrays = {name: self._array(row, name) for name in self._names(row) if name not in left_out}
        grid = self.preparer.grid(arrays)
        truth = self._model_truth(row, grid) if with_truth and self._reader.truth is not None else None
        return Item(case if for_training else self.task.hide(case), arrays, grid, truth)

    def grid(self, row: int) -> SliceGrid | None:
        names = [name for name in self._names(row) if name not in ("pixels", "truth", "model_truth")]
        return self.preparer.grid({name: self._array(row, name) for name in names}) if names else None

    def truth(self, row: int) -> Array:
        """Truth that lies in files, on the grid of the image."""
        return self._array(row, "truth")

    def pixels(self, row: int) -> Array:
        """The prepared image."""
        return self._array(row, PIXELS)

    def array(self, row: int, name: str) -> Array:
        """Any array that the preparer made."""
        return self._array(row, name)

    def _model_truth(self, row: int, grid: SliceGrid | None) -> Array:
        if grid is None:
            return self.truth(row)
        return self._array(row, "model_truth") if grid.is_resampled else grid.to_model(self.truth(row), linear=False)

    def _put(self, key: str, arrays: Mapping[str, Array]) -> None:
        """All arrays, then their names: these say that all is there."""
        for name, array in arrays.items():
            self._arrays.put(self._name(key, name), array)
        self._arrays.put(self._name(key, "all"), np.array(sorted(arrays)))
        self._parts[key] = sorted(arrays)

    def _names(self, row: int) -> list[str]:
        case, key = self._keyed[row]
        if not key:
            return sorted(self._reader(case))
        if key not in self._parts:
            found = self._arrays.get(self._name(key, "all"))
            if found is None:
                self._put(key, self._reader(case))
            else:
                self._parts[key] = [str(name) for name in found]
        return self._parts[key]

    def _array(self, row: int, part: str) -> Array:
        case, key = self._keyed[row]
        if not key:
            return self._reader(case)[part]
        return self._arrays.get_or_make(self._name(key, part), lambda: self._reader(case)[part])

    def _name(self, key: str, part: str) -> str:
        return f"{self._reader.key()}-{key}-{part}"


@dataclass(frozen=True, eq=False)
class StoredCases:
    """Some rows of a store, by their place from 0 on. See core.protocols.TrueCases."""

    store: CaseStore
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    def case(self, place: int) -> Case:
        return self.store.keyed[int(self.rows[place])][0]

    def truth(self, place: int) -> Array:
        return self.store.truth(int(self.rows[place]))

    def grid(self, place: int) -> SliceGrid | None:
        return self.store.grid(int(self.rows[place]))

    def pixels(self, place: int) -> Array:
        return self.store.pixels(int(self.rows[place]))

    def array(self, place: int, name: str) -> Array:
        return self.store.array(int(self.rows[place]), name)


@dataclass(frozen=True, eq=False)
class JoinedCases:
    """The cases of several folds, one after the other. See core.protocols.TrueCases."""

    parts: Sequence[StoredCases]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def _of(self, place: int) -> tuple[StoredCases, int]:
        for part in self.parts:
            if place < len(part):
                return part, place
            place -= len(part)
        raise IndexError(place)

    def case(self, place: int) -> Case:
        part, own = self._of(place)
        return part.case(own)

    def truth(self, place: int) -> Array:
        part, own = self._of(place)
        return part.truth(own)

    def grid(self, place: int) -> SliceGrid | None:
        part, own = self._of(place)
        return part.grid(own)

    def pixels(self, place: int) -> Array:
        part, own = self._of(place)
        return part.pixels(own)

    def array(self, place: int, name: str) -> Array:
        part, own = self._of(place)
        return part.array(own, name)
