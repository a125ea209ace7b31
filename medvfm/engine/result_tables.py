"""predictions.parquet, measures.parquet and features.safetensors of a run, from which every row of run.json can be
computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.protocols import Points
from medvfm.core.task_capabilities import ArrayPredictions
from medvfm.engine.fitting import Collected
from medvfm.io import patient_hashes, run_directory
from medvfm.io.dataset import case_names
from medvfm.nn import state

MODEL = "model"  # its arrays, beside those of baselines, which bear their own names


class ResultTables:
    """Rows of the model, its baselines and further tasks, test and validation, in one form.

    Cases and patients stand in them by their names, which private/cases.csv leads back from. `safe_ids`: a case_id may
    be shown.
    """

    def __init__(
        self,
        owners: Mapping[str, str],
        columns: Sequence[str],
        *,
        safe_ids: bool,
        uses: Mapping[str, case_names.Use] | None = None,
        beside: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """owners: case_id to its patient; columns: those of subgroups; uses: case_id to what became of it; beside:
        column to case_id to a number of the model's test cases, the highest where a unit has several cases."""
        self._uses, self._beside = uses, beside or {}
        self._owners, self._columns, self._safe = dict(owners), columns, safe_ids
        self._hashed = patient_hashes.hashes(self._owners.values())
        self._predictions: list[pd.DataFrame] = []
        self._measures: list[pd.DataFrame] = []
        self._arrays: dict[str, Array] = {}

    def add(self, found: Collected, baseline: str | None, task: str | None = None, called: str = "test") -> None:
        """called: the split of the cases that are no validation cases."""
        for split, predictions in ((called, found.test), ("val", found.val)):
            if predictions is None:
                continue
            frame = predictions.as_frame(split, self._hashed, baseline)
            frame["threshold"] = [
                _at(found.points, target, fold) for target, fold in zip(frame["target"], frame["fold"], strict=True)
            ]
            if split == called and found.before is not None:
                frame["score_before"] = found.before.as_frame(split, self._hashed, baseline)["score"].to_numpy()
            targets = len(frame) // max(len(predictions.ids), 1)  # rows of a case lie together
            for column in self._columns:
                frame[f"group_{column}"] = np.repeat([str(v) for v in predictions.groups[column]], targets)
            if split == called and baseline is None:
                for column, values in self._beside.items():
                    frame[column] = [_highest(values, str(case_id)) for case_id in frame["case_id"]]
            measures = predictions.measures(split, self._hashed, baseline)
            self._owners |= dict(zip(predictions.ids, map(str, predictions.patients), strict=True))
            if isinstance(predictions, ArrayPredictions):
                self._arrays |= {f"{split}/{baseline or MODEL}/{n}": a for n, a in predictions.arrays().items()}
            for table, part in ((self._predictions, frame), (self._measures, measures)):
                if part is not None:
                    table.append(part if task is None else part.assign(task=task))

    def beside(self) -> ResultTables:
        """Empty tables of the same cases, in which they have the same names."""
        return ResultTables(self._owners, self._columns, safe_ids=self._safe)

    def write(self, out: Path, *, names: bool = True) -> None:
        """names: private/cases.csv too, which leads back from the names in the tables."""
        named = case_names.names(self._owners, safe=self._safe)
        for name, parts in ((run_directory.PREDICTIONS, self._predictions), (run_directory.MEASURES, self._measures)):
            if parts:
                table = _stacked(parts)
                run_directory.write_table(out / name, table.assign(case_id=table["case_id"].map(named)))
        if self._arrays:
            state.write_arrays(out / run_directory.FEATURES, self._arrays, {})
        if names:
            case_names.write(out, self._owners, named, self._hashed, self._uses)


def _highest(values: Mapping[str, float], unit: str) -> float:
    """Of a case, or of the cases of a unit, whose names a `+` joins; NaN where one has none."""
    if unit in values:
        return values[unit]
    parts = [values.get(case_id, np.nan) for case_id in unit.split("+")]
    return float(np.max(parts))


def _stacked(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table; a column that holds text for one task and numbers for another holds text."""
    texts = {
        c
        for part in parts
        for c in ("truth", "answer", "score")
        if c in part and not pd.api.types.is_numeric_dtype(part[c])
    }
    return pd.concat([_with_texts(part, texts).astype({"baseline": object}) for part in parts], ignore_index=True)


def _with_texts(part: pd.DataFrame, columns: set[str]) -> pd.DataFrame:
    as_text = {c: part[c].map(str, na_action="ignore").astype(object) for c in columns if c in part}
    return part.assign(**as_text)


def _at(points: Points, target: str, fold: int) -> float | None:
    """The threshold that decides for a target in a fold."""
    found = points.thresholds.get(("decision", target))
    return None if found is None or np.isnan(found[fold]) else float(found[fold])
