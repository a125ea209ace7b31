"""Cases through loader workers: read and prepared in parallel, bad ones left out with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medvfm.core import cpu_count
from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import MedvfmError
from medvfm.core.protocols import Preparer, TruthReader
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

    def __call__(self, case: Case) -> dict[str, Array]:
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
    reader: CaseReader[Mapping[str, Array]],
    fingerprint_key: str,
    context: RunContext,
    label: str,
) -> Iterator[tuple[Case, str, Mapping[str, Array] | str]]:
    """Case, key, and what `prepared` gives; the fingerprint of each case's pixels is kept, for `fingerprints`."""
    items = prepared([case for case, _ in keyed], reader, context.workers, context.strict)
    try:
        for (case, key), item in zip(keyed, context.console.track(items, len(keyed), label), strict=True):
            if not isinstance(item, str) and "pixels" in item and key:
                _FINGERPRINTS.put(f"{fingerprint_key}-{key}", leakage.fingerprint(item["pixels"]))
            yield case, key, item
    finally:
        _FINGERPRINTS.save()


def fingerprints(keyed: Sequence[tuple[Case, str]], reader: PreparedReader, context: RunContext) -> list[str | None]:
    """`leakage.fingerprint` of the prepared pixels of each case; a case is read again only where none is kept.

    None for a case without pixels, or one that cannot be read any more.
    """
    places = [f"{reader.key()}-{key}" for _, key in keyed]
    kept = [_FINGERPRINTS.get(place) for place in places]
    new = [pair for pair, found in zip(keyed, kept, strict=True) if pair[1] and not found]
    if new:
        for _ in read_cases(new, reader, reader.key(), context, "images compared"):
            pass
    return [_FINGERPRINTS.get(place) for place in places]
