"""Prepared arrays of cases: read once in loader workers, memory-mapped from the cache after that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medvfm.core import cpu_count
from medvfm.core.case import Case
from medvfm.core.errors import MedvfmError
from medvfm.core.item import Item
from medvfm.core.protocols import Preparer, Task, TruthReader
from medvfm.core.slice_grid import SliceGrid
from medvfm.engine.context import RunContext
from medvfm.io import cache
from medvfm.io.dataset import content_hash, leakage

_FINGERPRINTS = cache.TextCache("fingerprints")  # of prepared cases, by preparer and content
Read = TypeVar("Read", covariant=True)


class CaseReader(Protocol[Read]):
    """Reads one case in a loader worker."""

    def key(self) -> str: ...

    def files(self, case: Case) -> Sequence[Path]: ...

    def __call__(self, case: Case) -> Read: ...


@dataclass(frozen=True)
class PreparedReader:
    """Arrays of a case, and the truth that lies in files, in one go.

    The truth on the grid of the image is called `truth`; `model_truth` is the same on the model's grid, where that is
    another.
    """

    preparer: Preparer
    truth: TruthReader | None = None

    def key(self) -> str:
        return self.preparer.key() if self.truth is None else f"{self.preparer.key()}-{self.truth.key()}"

    def files(self, case: Case) -> Sequence[Path]:
        return [*self.preparer.files(case), *(self.truth.files(case) if self.truth is not None else ())]

    def __call__(self, case: Case) -> dict[str, np.ndarray]:
        images = self.preparer.images(case)
        if self.truth is None:
            return dict(self.preparer.arrays(images, case))
        truth = self.truth(case, images[0])
        found = {**self.preparer.arrays(images, case), "truth": truth}
        grid = self.preparer.grid(found)
        if grid is not None and grid.is_resampled:  # else the truth on the model's grid is a view of the truth
            found["model_truth"] = np.ascontiguousarray(grid.to_model(truth, linear=False))
        return found


@dataclass(frozen=True)
class CasesWithKeys:
    """Cases with the key of their content, empty for a case that reads no file; the others with the reason."""

    readable: list[tuple[Case, str]]
    left_out: list[tuple[str, str]]


def default_workers(device: str) -> int:
    """One process a core on a CPU, where they share the cores with the model; a few more beside a GPU."""
    return min(cpu_count.available(), 2 if device == "cpu" else 12)


def content_keys(cases: Sequence[Case], reader: CaseReader[object], strict: bool) -> CasesWithKeys:
    """The content of every case's files as a key; a table in the cache spares reading files that did not change."""
    found = CasesWithKeys([], [])
    files: list[Sequence[Path]] = []
    with_files: list[Case] = []
    for case in cases:
        try:
            files.append(reader.files(case))
            with_files.append(case)
        except MedvfmError as error:
            if strict:
                raise
            found.left_out.append((case.case_id, str(error)))
    for case, read, key in zip(with_files, files, content_hash.content_keys(files), strict=True):
        if not read:
            found.readable.append((case, ""))
        elif not isinstance(key, Exception):
            found.readable.append((case, key))
        elif strict:
            raise key
        else:
            found.left_out.append((case.case_id, str(key)))
    return found


class _Cases(Dataset[object]):
    def __init__(self, cases: Sequence[Case], reader: CaseReader[object], strict: bool) -> None:
        self._cases, self._reader, self._strict = list(cases), reader, strict

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, row: int) -> object:
        try:
            return self._reader(self._cases[row])
        except MedvfmError as error:
            return error if self._strict else str(error)


def _first(items: list[object]) -> object:
    return items[0]


def _single_threaded(_worker: int) -> None:
    torch.set_num_threads(1)


def prepared(cases: Sequence[Case], reader: CaseReader[Read], workers: int, strict: bool) -> Iterator[Read | str]:
    """Each case read, in order; a case that cannot be read gives the reason, as text, in its place."""
    loader = DataLoader(
        _Cases(cases, reader, strict),
        batch_size=1,
        collate_fn=_first,
        num_workers=workers if len(cases) > 8 else 0,
        prefetch_factor=4 if workers and len(cases) > 8 else None,
        worker_init_fn=_single_threaded if workers and len(cases) > 8 else None,
    )
    for item in loader:
        if isinstance(item, MedvfmError):
            raise item
        yield item


def read_cases(
    keyed: Sequence[tuple[Case, str]],
    reader: CaseReader[Mapping[str, np.ndarray]],
    fingerprint_key: str,
    context: RunContext,
    label: str,
) -> Iterator[tuple[Case, str, Mapping[str, np.ndarray] | str]]:
    """Case, key, and what `prepared` gives; the fingerprint of each case's pixels is kept, for `fingerprints`."""
    items = prepared([case for case, _ in keyed], reader, context.workers, context.strict)
    try:
        for (case, key), item in zip(keyed, context.console.track(items, len(keyed), label), strict=True):
            if not isinstance(item, str) and "pixels" in item and key:
                _FINGERPRINTS.put(f"{fingerprint_key}-{key}", leakage.fingerprint(item["pixels"]))
            yield case, key, item
    finally:
        _FINGERPRINTS.save()


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
        keyed = content_keys(cases, self._reader, context.strict)
        missing = [(case, key) for case, key in keyed.readable if key and not self._arrays.has(self._name(key, "all"))]
        bad: dict[str, str] = {}
        if missing:
            for case, key, item in read_cases(missing, self._reader, self._reader.key(), context, label):
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
        """`leakage.fingerprint` of the prepared pixels of each row; a case is read again only where none is kept.

        None for a case without pixels, or one that cannot be read any more.
        """
        places = [f"{self._reader.key()}-{key}" for _, key in self._keyed]
        new = [
            pair for pair, place in zip(self._keyed, places, strict=True) if pair[1] and not _FINGERPRINTS.get(place)
        ]
        if new:
            for _ in read_cases(new, self._reader, self._reader.key(), context, "images compared"):
                pass
        return [_FINGERPRINTS.get(place) for place in places]

    def item(self, row: int, *, for_training: bool, with_truth: bool) -> Item:
        """A case as the model sees it. Truth is hidden from an item that is to be answered, unless it is a prompt."""
        case, _ = self._keyed[row]
        arrays = {name: self._array(row, name) for name in self._names(row) if name not in ("truth", "model_truth")}
        grid = self.preparer.grid(arrays)
        truth = self._model_truth(row, grid) if with_truth and self._reader.truth is not None else None
        return Item(case if for_training else self.task.hide(case), arrays, grid, truth)

    def grid(self, row: int) -> SliceGrid | None:
        names = [name for name in self._names(row) if name not in ("pixels", "truth", "model_truth")]
        return self.preparer.grid({name: self._array(row, name) for name in names}) if names else None

    def truth(self, row: int) -> np.ndarray:
        """Truth that lies in files, on the grid of the image."""
        return self._array(row, "truth")

    def _model_truth(self, row: int, grid: SliceGrid | None) -> np.ndarray:
        if grid is None:
            return self.truth(row)
        return self._array(row, "model_truth") if grid.is_resampled else grid.to_model(self.truth(row), linear=False)

    def _put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
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

    def _array(self, row: int, part: str) -> np.ndarray:
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
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def case(self, place: int) -> Case:
        return self.store.keyed[int(self.rows[place])][0]

    def truth(self, place: int) -> np.ndarray:
        return self.store.truth(int(self.rows[place]))

    def grid(self, place: int) -> SliceGrid | None:
        return self.store.grid(int(self.rows[place]))
