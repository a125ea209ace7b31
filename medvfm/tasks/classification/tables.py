"""Any model's scores against a truth, matched by case_id, from tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError, nearest
from medvfm.io.dataset.prediction_tables import KNOWN, Table, missing, named, read_table, some, wide
from medvfm.tasks.classification.scores import ScoreTable


def match(truth_given: Table, predictions_given: Table, *, allow_missing: bool) -> tuple[ScoreTable, list[str]]:
    """Truth and scores of the same cases, in the truth's order; what does not match is named."""
    truth_table, given = read_table(truth_given), read_table(predictions_given)
    truth_path, predictions_path = named(truth_given, "truth"), named(predictions_given, "predictions")
    scores = wide(given, predictions_path)
    truth = wide(truth_table.rename(columns={"truth": "score"}), truth_path)
    unknown = [t for t in scores.columns if t not in truth.columns]
    if unknown:
        raise PredictionError(
            f"target {str(unknown[0])!r} is not in the truth; {nearest(unknown[0], map(str, truth.columns))}",
            where=predictions_path,
        )
    notes = missing(truth.index, scores.index, predictions_path, allow_missing)
    kept = [c for c in truth.index if c in set(scores.index)]
    targets = tuple(str(t) for t in scores.columns)
    values = _numbers(scores.loc[kept], predictions_path)
    if np.isnan(values).any():
        bad = [kept[r] for r in np.flatnonzero(np.isnan(values).any(axis=1))]
        raise PredictionError(f"{len(bad)} cases have no number as a score: {some(bad)}", where=predictions_path)
    labels = _numbers(truth.loc[kept, list(scores.columns)], truth_path)
    wrong = ~np.isnan(labels) & ~np.isin(labels, (0, 1))
    if wrong.any():
        bad = [kept[r] for r in np.flatnonzero(wrong.any(axis=1))]
        raise PredictionError(f"{len(bad)} cases have a truth that is neither 0 nor 1: {some(bad)}", where=truth_path)
    people = truth_table.drop_duplicates("case_id").set_index("case_id")
    column = next((c for c in ("patient_id", "patient") if c in people.columns), None)
    if column is None:
        notes.append("The truth names no patients: intervals take every case as a patient of its own.")
    owners = people.loc[kept, column].astype(str).to_numpy(object) if column else np.array(kept, dtype=object)
    probabilities = bool(values.size and values.min() >= 0 and values.max() <= 1)
    if not probabilities:
        notes.append("Scores outside [0, 1]: ranking metrics only, calibration is not defined.")
    groups = {c: people.loc[kept, c].to_numpy(object) for c in people.columns if c not in KNOWN and c not in targets}
    return ScoreTable(tuple(kept), owners, targets, labels, values, probabilities, groups), notes


def _numbers(table: pd.DataFrame, where: object) -> Array:
    try:
        return table.apply(pd.to_numeric).to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as broken:
        raise PredictionError(f"not all values are numbers: {str(broken)[:80]}", where=where) from broken
