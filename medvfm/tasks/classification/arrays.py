"""Truth and scores as arrays or lists, in the order of the same cases, as the two tables that are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError
from medvfm.io.dataset.prediction_tables import Table, is_table

WANTED = (
    "arrays are truth (n,) of 0 and 1 with scores (n,), truth (n,) of class numbers with scores (n, classes), or both "
    "(n, classes)"
)


def as_tables(truth: Table, predictions: Table, classes: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """Two data frames, and whether the truth states that exactly one class is right; cases are numbered from 0.

    truth  (n,) of 0 and 1 beside scores (n,); (n,) class numbers, or names out of `classes`, beside scores
           (n, classes); or both (n, classes)
    """
    if is_table(truth) or is_table(predictions):
        raise PredictionError("truth and predictions are a table and an array", remedy="give two tables or two arrays")
    both = isinstance(truth, pd.Series) and isinstance(predictions, pd.Series)
    if both and not truth.index.equals(predictions.index):  # type: ignore[union-attr]
        raise PredictionError("truth and predictions have different indices", remedy="sort them alike, or give tables")
    true, scores = _array(truth, "truth"), _array(predictions, "predictions")
    if len(true) != len(scores):
        raise PredictionError(f"{len(true)} cases in the truth and {len(scores)} predictions")
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if true.ndim == 2 and true.shape[1] == 1:
        true = true[:, 0]
    exclusive = true.ndim == 1 and scores.ndim == 2
    if exclusive:
        true = _one_column_a_class(true, scores.shape[1], classes)
    if true.shape != scores.shape or true.ndim > 2:
        raise PredictionError(f"truth of shape {true.shape} and scores of shape {scores.shape}", remedy=WANTED)
    width = 1 if scores.ndim == 1 else scores.shape[1]
    names = list(classes) or (["positive"] if width == 1 else [f"class {n}" for n in range(width)])
    if len(names) != width:
        raise PredictionError(f"{len(names)} classes are named, and there are scores of {width}")
    ids = [str(n) for n in range(len(true))]
    frames = [pd.DataFrame(a.reshape(len(ids), width), columns=names).assign(case_id=ids) for a in (true, scores)]
    return frames[0], frames[1], exclusive


def _array(given: Table, what: str) -> Array:
    try:
        found = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as broken:
        raise PredictionError(f"no array can be made of it: {str(broken)[:80]}", where=what, remedy=WANTED) from broken
    if found.ndim not in (1, 2) or not found.size:
        raise PredictionError(f"an array of shape {found.shape}", where=what, remedy=WANTED)
    return found


def _one_column_a_class(true: Array, width: int, classes: Sequence[str]) -> Array:
    if width == 2 and not classes:
        raise PredictionError(
            "scores of two classes beside one truth", remedy="give those of the positive class: predictions[:, 1]"
        )
    if true.dtype.kind in "OUS" and classes:
        places = {name: n for n, name in enumerate(classes)}
        strange = sorted({str(v) for v in true} - set(places))
        if strange:
            raise PredictionError(f"the truth holds {strange[0]!r}, none of the classes {', '.join(classes)}")
        true = np.array([places[str(v)] for v in true])
    try:
        numbers = true.astype(np.float64)
    except (ValueError, TypeError):
        raise PredictionError("the truth holds names", remedy="classes=[...] says which column is which") from None
    wrong = numbers[~np.isin(numbers, np.arange(width))]
    if len(wrong):
        raise PredictionError(f"the truth holds {wrong[0]:g}, and classes are numbered 0 to {width - 1}", remedy=WANTED)
    return np.eye(width, dtype=int)[numbers.astype(int)]
