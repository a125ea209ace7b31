"""One number by every way that papers count it: what `medvfm reconcile` lays beside a published one.

A task that can do this has a file `recompute.py` in its folder, with COLUMNS, the sets of columns of a table that it
reads, and `recompute(table, metric)`, which gives a number for each protocol, split and denominator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medvfm.core.array import Array
from medvfm.io.dataset.layout_rows import as_text
from medvfm.io.dataset.prediction_tables import GivenTable

ALL_ROWS = "all rows"


@dataclass(frozen=True)
class Recomputed:
    """protocol: how a case is counted; split: which rows; denominator: what the mean is over. `cases` counts them."""

    protocol: str
    split: str
    denominator: str
    value: float
    cases: int


def splits(table: GivenTable) -> Iterator[tuple[str, Array]]:
    """All rows, then those of each split of the table: name and (n,) of bool."""
    count = len(table.frame)
    yield ALL_ROWS, np.ones(count, dtype=bool)
    if "split" in table:
        named = np.array([as_text(value) for value in table.frame["split"]], dtype=object)
        values = sorted(set(named))
        for value in values if len(values) > 1 else []:
            yield f"split {value}", named == value


def column(table: GivenTable, *names: str) -> Array | None:
    """(n,) texts of the first of these columns that there is."""
    name = next((n for n in names if n in table), None)
    return None if name is None else np.array([as_text(value) for value in table.frame[name]], dtype=object)


def folds(table: GivenTable) -> Array | None:
    """(n,) the fold of each row, where there are several."""
    found = column(table, "fold")
    return found if found is not None and len(set(found)) > 1 else None


def mean_over(groups: Array, rows: Array, value: Callable[[Array], float | None]) -> tuple[float, int] | None:
    """The mean over groups of a number of their rows, and how many cases have a part in it; None where every row is a
    group of its own, or all are one."""
    if len(set(groups[rows])) in (0, 1, int(rows.sum())):
        return None
    found = []
    for group in dict.fromkeys(groups[rows]):
        mine = rows & (groups == group)
        number = value(mine)
        if number is not None:
            found.append((number, int(mine.sum())))
    return (float(np.mean([v for v, _ in found])), sum(n for _, n in found)) if found else None


def distinct(found: Sequence[Recomputed]) -> list[Recomputed]:
    """Each way once."""
    return list(dict.fromkeys(found))
