"""Cases through loader workers: read and prepared in parallel, bad ones left out with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from medvfm.core import cpu_count as cores
from medvfm.core.case import Case
from medvfm.core.errors import MedvfmError
from medvfm.core.protocols import Preparer
from medvfm.engine.context import RunContext
from medvfm.io import cache
from medvfm.io.cache import ArrayCache
from medvfm.io.dataset import content_hash as content
from medvfm.io.dataset import leakage

_MARKS = cache.TextCache("marks")  # of prepared cases, by preparer and content


@dataclass(frozen=True)
class Keyed:
    """Cases with the key of their content; those without files are left out with the reason."""

    readable: list[tuple[Case, str]]
    left_out: list[tuple[str, str]]


def default_workers(device: str) -> int:
    """One process a core on a CPU, where they share the cores with the model; a few more beside a GPU."""
    return min(cores.available(), 2 if device == "cpu" else 12)


def content_keys(cases: Sequence[Case], preparer: Preparer, strict: bool) -> Keyed:
    """The content of every case's files as a key; a table in the cache spares reading files that did not change."""
    found = Keyed([], [])
    files: list[Sequence[Path]] = []
    asked: list[Case] = []
    for case in cases:
        try:
            files.append(preparer.files(case))
            asked.append(case)
        except MedvfmError as error:
            if strict:
                raise
            found.left_out.append((case.case_id, str(error)))
    for case, key in zip(asked, content.content_keys(files), strict=True):
        if not isinstance(key, Exception):
            found.readable.append((case, key))
        elif strict:
            raise key
        else:
            found.left_out.append((case.case_id, str(key)))
    return found


class _Cases(Dataset):
    def __init__(self, cases: Sequence[Case], preparer: Preparer, strict: bool) -> None:
        self._cases, self._preparer, self._strict = list(cases), preparer, strict

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, row: int) -> Any:
        try:
            return self._preparer(self._cases[row])
        except MedvfmError as error:
            return error if self._strict else str(error)


def _first(items: list[Any]) -> Any:
    return items[0]


def _single_threaded(_worker: int) -> None:
    torch.set_num_threads(1)


def prepared(cases: Sequence[Case], preparer: Preparer, workers: int, strict: bool) -> Iterator[Any]:
    """Each case prepared, in order; a case that cannot be read gives the reason, as text, in its place."""
    loader = DataLoader(
        _Cases(cases, preparer, strict),
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


def made(
    keyed: Sequence[tuple[Case, str]], preparer: Preparer, around: RunContext, label: str
) -> Iterator[tuple[Case, str, Any]]:
    """Case, key, and what `prepared` gives; the mark of each is remembered, by which `marks` finds it again."""
    items = prepared([case for case, _ in keyed], preparer, around.workers, around.strict)
    try:
        for (case, key), item in zip(keyed, around.console.track(items, len(keyed), label), strict=True):
            if not isinstance(item, str):
                shown = item["pixels"] if isinstance(item, Mapping) else item
                _MARKS.put(f"{preparer.key()}-{key}", leakage.fingerprint(shown))
            yield case, key, item
    finally:
        _MARKS.save()


def marks(keyed: Sequence[tuple[Case, str]], preparer: Preparer, around: RunContext) -> list[str | None]:
    """`leakage.fingerprint` of each case as it is prepared; a case is read again only where nothing remembers it.

    None for one that cannot be read any more.
    """
    places = [f"{preparer.key()}-{key}" for _, key in keyed]
    new = [pair for pair, place in zip(keyed, places, strict=True) if _MARKS.get(place) is None]
    if new:
        for _ in made(new, preparer, around, "images compared"):
            pass
    return [_MARKS.get(place) for place in places]


class PreparedCases(Dataset):
    """Prepared arrays from the cache, with their truth: what training reads."""

    def __init__(self, keyed: Sequence[tuple[Case, str]], preparer: Preparer, arrays: ArrayCache) -> None:
        self._keyed, self._preparer, self._arrays = list(keyed), preparer, arrays

    def __len__(self) -> int:
        return len(self._keyed)

    def __getitem__(self, row: int) -> Any:
        case, key = self._keyed[row]
        return self._arrays.get_or_make(f"{self._preparer.key()}-{key}", lambda: self._preparer(case))


def fill(cases: Sequence[Case], preparer: Preparer, arrays: ArrayCache, around: RunContext) -> Keyed:
    """Prepare every case once, into the cache; what cannot be read is left out before anything is trained."""
    keyed = content_keys(cases, preparer, around.strict)
    missing = [(case, key) for case, key in keyed.readable if not arrays.has(f"{preparer.key()}-{key}")]
    if not missing:
        return keyed
    bad: dict[str, str] = {}
    for case, key, item in made(missing, preparer, around, "images prepared"):
        if isinstance(item, str):
            bad[case.case_id] = item
        else:
            arrays.put(f"{preparer.key()}-{key}", item)
    kept = [(case, key) for case, key in keyed.readable if case.case_id not in bad]
    return Keyed(kept, [*keyed.left_out, *bad.items()])
