"""Tables of truth and predictions, CSV or Parquet: one row per case, or one per case and target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medvfm.core.errors import PredictionError

Table = str | Path | pd.DataFrame
KNOWN = ("case_id", "patient_id", "patient", "split", "fold", "truth", "baseline")
LISTED = 5


def named(source: Table, otherwise: str) -> str:
    """What messages call a table."""
    return otherwise if isinstance(source, pd.DataFrame) else str(source)


def read_table(source: Table) -> pd.DataFrame:
    """A table with a case_id, from CSV or Parquet or as it is; identifiers stay text (007 is not 7)."""
    if isinstance(source, pd.DataFrame):
        table, path = source, Path("table")
    else:
        path = Path(source)
        table = _read_file(path)
    if "case_id" not in table.columns:
        found = ", ".join(map(str, table.columns[:8]))
        raise PredictionError("no column case_id", where=path, remedy=f"its columns are {found}")
    return table.assign(case_id=table["case_id"].astype(str))


def _read_file(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise PredictionError("no such file", where=path)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        text = {"case_id": str, "patient_id": str, "patient": str}
        return pd.read_csv(path, dtype=text, sep=None, engine="python")
    except (OSError, ValueError, pd.errors.ParserError) as broken:
        raise PredictionError(f"not readable as CSV or Parquet: {str(broken)[:120]}", where=path) from broken


def wide(table: pd.DataFrame, where: object) -> pd.DataFrame:
    """case_id as index, a column a target: long tables (case_id, target, score) are pivoted."""
    if {"target", "score"} <= set(table.columns):
        refuse_doubled(table, ["case_id", "target"], where)
        pivoted = table.pivot(index="case_id", columns="target", values="score")
        return pivoted.rename_axis(columns=None)
    refuse_doubled(table, ["case_id"], where)
    return table.set_index("case_id").drop(columns=[c for c in KNOWN if c in table.columns], errors="ignore")


def refuse_doubled(table: pd.DataFrame, keys: list[str], where: object) -> None:
    """Refuses a case, or a case and target, that occurs more than once."""
    doubled = table.loc[table.duplicated(keys), "case_id"].unique().tolist()
    if doubled:
        raise PredictionError(f"{len(doubled)} case_id occur more than once: {some(doubled)}", where=where)


def missing(truth: pd.Index, given: pd.Index, where: str, allow: bool) -> list[str]:
    """Notes on cases without a prediction and predictions without a case; refused unless allowed."""
    without, strange = truth.difference(given).tolist(), given.difference(truth).tolist()
    found = []
    if without:
        found.append(f"{len(without)} cases have no prediction: {some(without)}")
    if strange:
        found.append(f"{len(strange)} predictions have no case: {some(strange)}")
    if found and not allow:
        raise PredictionError("; ".join(found), where=where, remedy="--allow-missing scores the others and says so")
    if len(without) == len(truth):
        raise PredictionError("no prediction matches a case of the truth", where=where)
    return found


def some(names: Sequence[object]) -> str:
    """The first few names."""
    return ", ".join(map(str, names[:LISTED])) + (", ..." if len(names) > LISTED else "")
