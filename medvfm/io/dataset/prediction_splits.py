"""The columns `split` and `fold` of tables of truth and predictions: what is scored apart, and averaged over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError
from medvfm.core.plurals import plural, some
from medvfm.io.dataset.layout_rows import as_text, is_unknown
from medvfm.io.dataset.prediction_tables import SPLITS, GivenTable

SCORED = ("test", "val")  # train is left out, and said


@dataclass(frozen=True, eq=False)
class Part:
    """Truth and predictions of one split; split is `test` where neither table has the column."""

    split: str
    truth: GivenTable
    predictions: GivenTable


def parts(truth: GivenTable, predictions: GivenTable) -> tuple[list[Part], list[str]]:
    """Test, then val where there are predictions for it; and notes on what is scored."""
    predictions, notes = _without_baselines(predictions)
    true, given = _splits(truth), _splits(predictions)
    if true is None and given is None:
        return [Part("test", truth, predictions)], notes
    if true is not None and given is not None:
        _refuse_torn(truth, true, predictions, given)
    named = [s for s in (*SCORED, "train") if any(s in of.values for of in (true, given) if of is not None)]
    if "test" not in named:
        raise PredictionError(
            f"no case is of the split test; its splits are {', '.join(named)}",
            where=(truth if true is not None else predictions).where,
            remedy="leave the column split out if all cases are to be scored as test cases",
        )
    found = []
    for split in (s for s in SCORED if s in named):
        mine, theirs = _of(split, truth, true, predictions, given), _of(split, predictions, given, truth, true)
        if split != "test" and (mine.frame.empty or theirs.frame.empty):
            notes.append(f"Nothing is scored of the split {split}: truth or predictions lack it.")
            continue
        found.append(Part(split, mine, theirs))
    counts = {s: _count(s, truth, true, predictions, given) for s in named}
    listed = ", ".join(f"{s} ({n} cases)" for s, n in counts.items())
    notes.append(f"The table names the splits {listed}: test is scored, val apart from it, train is not.")
    return found, notes


def _refuse_torn(truth: GivenTable, true: pd.Series, predictions: GivenTable, given: pd.Series) -> None:
    """A case that the tables have in different splits; cases of several splits, as folds have them, in none that both
    have."""
    own, theirs = _splits_of_cases(truth, true), _splits_of_cases(predictions, given)
    torn = [case_id for case_id, splits in own.items() if case_id in theirs and not {*splits} & {*theirs[case_id]}]
    if torn:
        first = torn[0]
        more = f"; {plural(len(torn) - 1, 'further case')} likewise" if len(torn) > 1 else ""
        raise PredictionError(
            f"{first} is {own[first][0]} in {truth.where} and {theirs[first][0]} in {predictions.where}{more}",
            remedy="leave the column split out of the table that is wrong",
        )


def _splits_of_cases(table: GivenTable, splits: pd.Series) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case_id, split in zip(table.frame["case_id"], splits, strict=True):
        if split not in found.setdefault(case_id, []):
            found[case_id].append(split)
    return found


def _of(
    split: str, table: GivenTable, own: pd.Series | None, other: GivenTable, others: pd.Series | None
) -> GivenTable:
    """The rows of a split: by the table's own column, else by the cases that the other table has in it. Cases that the
    other table has in no split go with test, so that they are told as missing."""
    if own is not None:
        return table.kept(own == split)
    assert others is not None
    cases = table.frame["case_id"]
    wanted = cases.isin(other.frame["case_id"][others == split])
    if split == "test":
        wanted |= ~cases.isin(other.frame["case_id"])
    return table.kept(wanted)


def _count(
    split: str, truth: GivenTable, true: pd.Series | None, predictions: GivenTable, given: pd.Series | None
) -> int:
    table, own = (truth, true) if true is not None else (predictions, given)
    assert own is not None
    return int(table.frame["case_id"][own == split].nunique())


def _without_baselines(table: GivenTable) -> tuple[GivenTable, list[str]]:
    """A run's table holds the predictions of its baselines too."""
    if "baseline" not in table:
        return table, []
    own = table.unknown("baseline")
    if not own.any():
        raise PredictionError("every row is of a baseline", where=table.where, remedy="leave the column baseline out")
    note = f"Of {table.where} the rows of baselines are left out."
    return table.kept(own), [] if own.all() else [note]


def _splits(table: GivenTable) -> pd.Series | None:
    """train, val or test of each row; None where no such column is there."""
    if "split" not in table:
        return None
    found = {}
    for row, value in table.frame["split"].items():
        name = "" if is_unknown(value) else as_text(value)
        if name.lower() not in SPLITS:
            what = f"the split {name!r}" if name else "no split"
            raise PredictionError(f"{what}; one of: train, val, test", where=table.place(int(str(row))))
        found[row] = SPLITS[name.lower()]
    return pd.Series(found, dtype=object)


def folds(part: Part, cases: Sequence[str]) -> tuple[Array, list[str]]:
    """(n,) the number of the fold of each case, from 0, and a note; all 0 where no table names folds."""
    named = [_folds(table) for table in (part.truth, part.predictions) if "fold" in table and _any_fold(table)]
    if not named:
        return np.zeros(len(cases), dtype=int), []
    first, last = named[0], named[-1]
    torn = [c for c in cases if c in last and c in first and first[c] != last[c]]
    if torn:
        raise PredictionError(
            f"truth and predictions have {plural(len(torn), 'case')} in different folds: {some(torn)}",
            where=part.predictions.where,
        )
    names = [first[c] for c in cases]
    order = sorted(set(names), key=lambda name: (len(name), name))
    note = f"Numbers are computed within each of {len(order)} folds and averaged, as the column fold says."
    return np.array([order.index(name) for name in names], dtype=int), [note] if len(order) > 1 else []


def _any_fold(table: GivenTable) -> bool:
    """Not where folds are those of training cases alone."""
    return not all(map(is_unknown, table.frame["fold"]))


def _folds(table: GivenTable) -> Mapping[str, str]:
    found: dict[str, str] = {}
    columns = (table.frame.index, table.frame["case_id"], table.frame["fold"])
    for row, case_id, value in zip(*columns, strict=True):
        name = "" if is_unknown(value) else as_text(value)
        if not name:
            raise PredictionError("no fold", where=table.place(int(str(row))), remedy="every case of the split has one")
        if found.setdefault(case_id, name) != name:
            raise PredictionError(f"case {case_id} is in two folds", where=table.place(int(str(row))))
    return found
