"""What the values of mask files mean: a card, a table or words name them; a value that nobody named is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.data_card import Label
from medvfm.core.errors import PredictionError
from medvfm.io.dataset.layout_rows import as_text
from medvfm.io.dataset.table_files import read_table
from medvfm.io.formats.voxel_values import label_values

Names = Mapping[int, str]  # value of a mask to the name of its structure
_SIXTEEN_BITS = 2**16
WORDS = "values and names are given as in 1=liver,6=spleen, as a table with columns value and name, or as a card"


def file_values(classes: Sequence[str], labels: Mapping[int, Label]) -> tuple[int, ...]:
    """The value of each class in files that are written: the card's, or 1, 2, ... where it does not name them all."""
    values = {label.name: value for value, label in labels.items()}
    if classes and all(name in values for name in classes):
        return tuple(values[name] for name in classes)
    return tuple(range(1, len(classes) + 1))


def with_values(mask: Array, values: Sequence[int]) -> Array:
    """The mask (i, j, k) of 1, 2, ... for each class, with `values` in their places."""
    if tuple(values) == tuple(range(1, len(values) + 1)):
        return mask
    return np.array([0, *values], np.min_scalar_type(max(values)) if min(values) >= 0 else np.int32)[mask]


def without_values(voxels: Array, names: Names, classes: Sequence[str]) -> Array:
    """A mask (i, j, k) of 1, 2, ... for each class; 0 for values of other names. Every value has a name."""
    place = {name: number for number, name in enumerate(classes, 1)}
    kind = np.uint8 if len(classes) < 256 else np.uint16
    found = label_values(voxels)
    low, high = min(found), max(found)
    if high - low >= _SIXTEEN_BITS:
        mapped = np.zeros(voxels.shape, kind)
        for value in found & set(names):
            mapped[voxels == value] = place.get(names[value], 0)
        return mapped
    table = np.zeros(high - low + 1, kind)
    for value in found & set(names):
        table[value - low] = place.get(names[value], 0)
    return table[voxels.astype(np.int64) - low] if low else table[voxels]


def read_names(given: str) -> dict[int, str]:
    """Names from `1=liver,6=spleen`, or from a table with columns value and name."""
    if "=" in given and not Path(given).is_file():
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        return _checked([(value, name, given) for value, _, name in pairs], given)
    path = Path(given)
    table = read_table(path)
    for column in ("value", "name"):
        if column not in table.columns:
            raise PredictionError(f"no column {column!r}", where=path, remedy=WORDS)
    rows = [
        (as_text(row["value"]), as_text(row["name"]), f"{path}, {table.place(n)}")
        for n, row in enumerate(table.records)
    ]
    return _checked(rows, given)


def _checked(rows: Sequence[tuple[str, str, str]], given: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for value, name, where in rows:
        try:
            number = int(value.strip())
        except ValueError:
            raise PredictionError(f"{value!r} is no whole number", where=where, remedy=WORDS) from None
        if number == 0:
            continue  # the background, which tables may list
        if not name.strip() or found.setdefault(number, name.strip()) != name.strip():
            raise PredictionError(f"the value {number} has no name, or two", where=where, remedy=WORDS)
    if not found:
        raise PredictionError("no value is named", where=given, remedy=WORDS)
    return found
