"""A published number beside what a table gives by every named protocol, split and denominator."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from importlib import util

import pandas as pd

from medvfm import lookup
from medvfm.core.errors import PredictionError
from medvfm.io.dataset.prediction_tables import GivenTable, Table, read_table
from medvfm.tasks.recomputed import Recomputed

COLUMNS = ("protocol", "split", "denominator", "value", "cases", "reproduces")
SLACK = 1e-9


def reconcile(table: Table, published: str | float, metric: str) -> pd.DataFrame:
    """Every way to count a metric over a table, those that give the published number first.

    table      case_id, truth and answer (question_type, question, patient_id, image_id, split, fold where known), or
               case_id, truth and score (patient_id, target, split, fold)
    published  as it is printed: `0.84`, `84.0%`; a number reproduces it that rounds to its digits

    `attrs` holds `said`, what it comes to in one sentence.
    """
    given = read_table(table)
    value, half, percent = _printed(published)
    found = _recompute(given)(given, metric)
    if not found:
        raise PredictionError(f"the table holds nothing that {metric} could be counted of", where=given.where)
    scale = 100 if percent else 1
    rows = [
        {
            **{key: getattr(one, key) for key in COLUMNS[:-1]},
            "reproduces": abs(scale * one.value - value) <= half + SLACK,
        }
        for one in found
    ]
    ordered = sorted(rows, key=lambda row: (not row["reproduces"], abs(scale * float(row["value"]) - value)))
    made = pd.DataFrame(ordered, columns=list(COLUMNS))
    made.attrs["said"] = _said(made, str(published), scale)
    return made


def _printed(published: str | float) -> tuple[float, float, bool]:
    """The number, half a unit of its last digit, and whether it is in per cent."""
    text = str(published).strip()
    cut = re.fullmatch(r"(\d*\.?\d+)\s*(%?)", text)
    if cut is None:
        raise PredictionError(
            f"{text!r} is no number as papers print one", where="--published", remedy="as in 0.84 or 84.0%"
        )
    decimals = len(cut[1].partition(".")[2])
    value = float(cut[1])
    return value, 0.5 * 10**-decimals, bool(cut[2]) or value > 1


def _recompute(table: GivenTable) -> Callable[[GivenTable, str], list[Recomputed]]:
    """Of the task whose columns the table has."""
    wanted = []
    for name in lookup.modules("tasks"):
        where = f"medvfm.tasks.{name}.recompute"
        if util.find_spec(where) is None:
            continue
        module = importlib.import_module(where)
        for columns in module.COLUMNS:
            if columns <= set(table.frame.columns):
                function: Callable[[GivenTable, str], list[Recomputed]] = module.recompute
                return function
            wanted.append(", ".join(sorted(columns)))
    raise PredictionError(
        f"its columns are {', '.join(map(str, table.frame.columns[:8]))}",
        where=table.where,
        remedy=f"it needs {'; or '.join(wanted)}",
    )


def _said(made: pd.DataFrame, published: str, scale: int) -> str:
    """One sentence: which ways give the number, or that no way does, and which comes nearest."""
    hits = made[made["reproduces"]]
    ways = f"{len(made)} way{'s' * (len(made) != 1)} to count"
    if not len(hits):
        near = made.iloc[0]
        return f"{published} is reproduced by none of {ways}; nearest is {scale * near['value']:.4g}: {_way(near)}."
    if len(hits) == 1:
        return f"{published} is reproduced by one of {ways}: {_way(hits.iloc[0])}."
    return (
        f"{published} is reproduced by {len(hits)} of {ways}, which this table does not tell apart; the first: "
        f"{_way(hits.iloc[0])}."
    )


def _way(row: pd.Series) -> str:
    return f"{row['protocol']}, {row['denominator']} ({row['cases']}), {row['split']}"
