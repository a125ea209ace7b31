"""Tables of truth and predictions that users hand in: one row per case, or one per case and target."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError
from medvfm.core.plurals import have, some
from medvfm.io.dataset import column_names, table_files
from medvfm.io.dataset.layout_rows import as_text, is_unknown

Table = str | Path | pd.DataFrame | pd.Series | Sequence[object] | np.ndarray
ANY_CASE = ("split", "fold")  # columns that decide what is scored, whatever the case of their letters
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
KNOWN = ("case_id", "patient_id", "patient", "split", "fold", "truth", "baseline")
LISTED = 5
_TRUE_OR_FALSE = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table with a case_id as text. The index of `frame` counts the rows of the source, whose places are `places`.

    mark  what stands between the cells of a text file
    """

    frame: pd.DataFrame
    where: str
    places: Sequence[str]
    mark: str = ""
    notes: tuple[str, ...] = ()

    def __contains__(self, column: str) -> bool:
        return column in self.frame.columns

    def place(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.where}, {self.places[row]}"

    def kept(self, rows: Array | pd.Series) -> GivenTable:
        """The rows where `rows` is true."""
        return replace(self, frame=self.frame[np.asarray(rows, dtype=bool)])

    def unknown(self, column: str) -> Array:
        """(n,) whether the cell is empty."""
        return np.array([is_unknown(value) for value in self.frame[column]], dtype=bool)

    def numbers(self, column: str) -> Array:
        """(n,) a column as numbers, NaN where it is empty; what is no number is refused by its row."""
        found = np.full(len(self.frame), np.nan)
        rows = [_row(label) for label in self.frame.index]
        cells = table_files.with_points(self.frame[column].tolist(), self.mark, column, lambda n: self.place(rows[n]))
        for n, value in enumerate(cells):
            if is_unknown(value):
                continue
            text = str(value).strip()
            try:
                found[n] = _TRUE_OR_FALSE.get(text.lower()) if text.isalpha() else float(text)
            except (ValueError, TypeError):
                found[n] = np.nan
            if "_" in text or not np.isfinite(found[n]):
                raise PredictionError(f"{text!r} in column {column!r} is no number", where=self.place(rows[n]))
        return found

    def first_of_case(self) -> pd.DataFrame:
        """The first row of each case, with case_id as index."""
        return self.frame.drop_duplicates("case_id").set_index("case_id")


def _row(label: object) -> int:
    return int(str(label))


def is_table(source: Table) -> bool:
    """Whether it is a file or a data frame, and no array of values alone."""
    return isinstance(source, str | Path | pd.DataFrame)


def named(source: Table, otherwise: str) -> str:
    """What messages call a table."""
    return str(source) if isinstance(source, str | Path) else otherwise


def read_table(source: Table, otherwise: str = "table") -> GivenTable:
    """A table with a case_id from any file of tables, or a data frame; identifiers stay text (007 is not 7)."""
    where, mark, notes = named(source, otherwise), "", tuple[str, ...]()
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True)
        frame.columns = [str(c) for c in frame.columns]
        places = [f"row {n}" for n in range(1, len(frame) + 1)]
        doubled = sorted({c for c in frame.columns if list(frame.columns).count(c) > 1})
        if doubled:
            raise PredictionError(f"the column {doubled[0]!r} occurs twice", where=where)
    elif isinstance(source, str | Path):
        path = Path(source)
        found = table_files.read_table(path)
        mark = found.mark
        frame = pd.DataFrame(found.records, columns=list(found.columns), index=range(len(found.records)))
        places, notes = [found.place(n) for n in range(len(found.records))], found.notes
    else:
        raise PredictionError(
            f"a {type(source).__name__}, where a file or a data frame is needed",
            where=where,
            remedy="arrays are taken for classification alone, truth and scores alike",
        )
    frame = _in_lower_case(frame, where)
    if "case_id" not in frame.columns:
        listed = ", ".join(map(str, frame.columns[:8])) or "none"
        raise PredictionError("no column case_id", where=where, remedy=f"its columns are {listed}")
    if not len(frame):
        raise PredictionError("the table has headings and no rows", where=where)
    table = GivenTable(frame, where, places, mark, notes)
    _refuse_empty(table, "case_id", "every row needs the name of its case")
    return replace(table, frame=frame.assign(case_id=[as_text(value) for value in frame["case_id"]]))


def _decides(column: pd.Series, name: str) -> bool:
    """Not a column `Split` of something else, such as internal and external."""
    held = {as_text(value).lower() for value in column if not is_unknown(value)}
    return column.name == name or name == "fold" or held <= SPLITS.keys()


def _in_lower_case(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The columns `Split` and `Fold` as `split` and `fold`."""
    for name in ANY_CASE:
        found = [column for column in frame.columns if column.strip().lower() == name and _decides(frame[column], name)]
        if len(found) > 1:
            raise PredictionError(
                f"the columns {found[0]!r} and {found[1]!r} differ only in the case of letters",
                where=where,
                remedy=f"keep the one that is meant, as {name}",
            )
        frame = frame.rename(columns=dict.fromkeys(found, name))
    return frame


def _refuse_empty(table: GivenTable, column: str, remedy: str) -> None:
    empty = table.frame.index[table.unknown(column)]
    if len(empty):
        more = f", and in {len(empty) - 1} further rows" if len(empty) > 1 else ""
        raise PredictionError(f"{column} is empty here{more}", where=table.place(_row(empty[0])), remedy=remedy)


def owners(truth: GivenTable, cases: Sequence[str]) -> tuple[Array, list[str]]:
    """(n,) the patient of each case, and a note where the truth names none: then every case is a patient of its own."""
    column = next((c for c in ("patient_id", "patient") if c in truth), None)
    if column is None:
        note = "The truth names no patients: intervals take every case as a patient of its own."
        return np.array(cases, dtype=object), [note, *_like_patients(truth)]
    _refuse_empty(truth, column, "fill it in, or leave the column out: then every case counts as a patient of its own")
    texts = truth.frame.assign(**{column: [as_text(value) for value in truth.frame[column]]})
    pairs = texts[["case_id", column]].drop_duplicates()
    torn = pairs.loc[pairs["case_id"].duplicated(), "case_id"].tolist()
    if torn:
        raise PredictionError(f"{have(len(torn), 'case')} two patients: {some(torn)}", where=truth.where)
    return pairs.set_index("case_id")[column].loc[list(cases)].to_numpy(object), []


def _like_patients(truth: GivenTable) -> list[str]:
    """A column that is called as one of patients is, and holds more than a yes or no."""
    others = [c for c in truth.frame.columns if c not in KNOWN and truth.frame[c].nunique() > len(_TRUE_OR_FALSE)]
    name = column_names.names_patients_best(others)
    return [f"The column {name!r} of the truth looks like one of patients: rename it to patient_id."] if name else []


def refuse_doubled(table: GivenTable, keys: list[str]) -> None:
    """Refuses a case, or a case and target, that occurs more than once."""
    doubled = table.frame[table.frame.duplicated(keys)]
    if len(doubled):
        names = doubled["case_id"].unique().tolist()
        row = _row(doubled.index[0])
        raise PredictionError(
            f"{len(names)} case_id occur more than once: {some(names)}; again in {table.places[row]}",
            where=table.where,
            remedy="keep one row for each case" + (" and target" if len(keys) > 1 else ""),
        )


def missing(truth: Collection[str], given: Collection[str], where: str, allow: bool) -> list[str]:
    """Notes on cases without a prediction and predictions without a case; refused unless allowed."""
    asked, answered = dict.fromkeys(truth), dict.fromkeys(given)
    without = [c for c in asked if c not in answered]
    strange = [c for c in answered if c not in asked]
    found = []
    if without:
        found.append(f"{have(len(without), 'case')} no prediction: {some(without)}")
    if strange:
        found.append(f"{have(len(strange), 'prediction')} no case: {some(strange)}")
    zeros = ""
    if without and {c.lstrip("0") for c in without} & {c.lstrip("0") for c in strange}:
        zeros = "some differ by zeros at their start alone, which Excel takes away; "
    if found and not allow:
        remedy = f"{zeros}--allow-missing scores the others and says so"
        raise PredictionError("; ".join(found), where=where, remedy=remedy)
    if len(without) == len(asked):
        raise PredictionError("no prediction matches a case of the truth", where=where)
    return found
