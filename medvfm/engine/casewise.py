"""From numbers of cases to the rows of run.json: means over cases, with intervals that resample patients.

A value is computed within folds and averaged over them. A case in which a number does not exist (a structure that the
truth does not hold has no Dice) is left out of that mean and counted in the note.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medvfm.core.metric_spec import MetricSpec
from medvfm.core.recipe import Confidence
from medvfm.core.result_row import ResultRow
from medvfm.engine.measure import CaseMeasurements
from medvfm.statistics import bootstrap
from medvfm.statistics.interval import Interval

MEAN = "mean"
ABSENT = {"false_positive_volume": "every case has the structure", "spurious": "every case has the structure"}


@dataclass(frozen=True, eq=False)
class PerCaseValues:
    """Cases of one split: values of each metric (n, T), sizes in truth and prediction (n, T), and who they are of."""

    ids: tuple[str, ...]
    patients: np.ndarray
    fold: np.ndarray
    targets: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    truth_size: np.ndarray
    predicted_size: np.ndarray
    groups: Mapping[str, np.ndarray]
    has_size: bool = True

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        patients: Sequence[str],
        fold: Sequence[int],
        targets: tuple[str, ...],
        measured: Sequence[CaseMeasurements],
        groups: Mapping[str, np.ndarray],
        has_size: bool,
    ) -> PerCaseValues:
        names = measured[0].values if measured else {}
        return cls(
            tuple(ids),
            np.array(patients, dtype=object),
            np.array(fold, dtype=int),
            targets,
            {name: np.stack([m.values[name] for m in measured]) for name in names},
            np.stack([m.truth_size for m in measured]),
            np.stack([m.predicted_size for m in measured]),
            groups,
            has_size,
        )

    def subset(self, keep: np.ndarray) -> PerCaseValues:
        """The cases where `keep` (n,) is true."""
        rows = np.flatnonzero(keep)
        return PerCaseValues(
            tuple(self.ids[r] for r in rows),
            self.patients[rows],
            self.fold[rows],
            self.targets,
            {name: values[rows] for name, values in self.values.items()},
            self.truth_size[rows],
            self.predicted_size[rows],
            {name: values[rows] for name, values in self.groups.items()},
            self.has_size,
        )

    def as_frame(self, split: str, hashed: Mapping[str, str], baseline: str | None = None) -> pd.DataFrame:
        """Long: case_id, patient (keyed hash), split, target, baseline, metric, value; sizes among the metrics."""
        n, t = self.truth_size.shape
        columns = {**self.values, "truth_size": self.truth_size, "predicted_size": self.predicted_size}
        parts = [
            pd.DataFrame(
                {
                    "case_id": np.repeat(np.array(self.ids, dtype=object), t),
                    "patient": np.repeat(np.array([hashed[str(p)] for p in self.patients], dtype=object), t),
                    "split": split,
                    "target": np.tile(np.array(self.targets, dtype=object), n),
                    "baseline": baseline,
                    "metric": name,
                    "value": values.reshape(-1),
                }
            )
            for name, values in columns.items()
        ]
        return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class CaseJudge:
    """Makes the rows of one run: metrics, intervals and seed do not change from split to split or to a baseline."""

    wanted: Sequence[MetricSpec]
    confidence: Confidence
    seed: int

    def rows(
        self,
        cases: PerCaseValues,
        *,
        split: str = "test",
        group: str | None = None,
        baseline: str | None = None,
        note: str | None = None,
    ) -> list[ResultRow]:
        """Every metric for each target, and their mean where there are several."""
        rows = []
        for wanted in self.wanted:
            for target in self._targets(cases, wanted):
                row = self._row(cases, wanted, target, cases.values[wanted.name], split, group, baseline)
                rows.append(replace(row, note="; ".join(n for n in (note, row.note) if n) or None))
        return rows

    def subgroups(self, cases: PerCaseValues, columns: Sequence[str], note: str | None = None) -> list[ResultRow]:
        """The same rows for every value of every column; `sex=F`."""
        rows = []
        for column in columns:
            values = np.array([str(v) for v in cases.groups[column]])
            for value in sorted(set(values)):
                rows += self.rows(cases.subset(values == value), group=f"{column}={value or 'unknown'}", note=note)
        return rows

    def differences(self, cases: PerCaseValues, other: PerCaseValues, baseline: str) -> list[ResultRow]:
        """Model minus baseline, case by case: rows `dice_difference`, ..., over the cases where both exist."""
        rows = []
        for wanted in self.wanted:
            if wanted.metric.over_cases == "sum":
                continue
            apart = cases.values[wanted.name] - other.values[wanted.name]
            for target in self._targets(cases, wanted):
                row = self._row(cases, wanted, target, apart, "test", None, baseline)
                better = row.better if row.better in ("higher", "lower") else ""
                rows.append(replace(row, metric=f"{wanted.name}_difference", better=better))
        return rows

    def value(self, measured: Sequence[CaseMeasurements], wanted: MetricSpec) -> float:
        """One number without an interval, for selection: the mean over targets of means over cases."""
        table = np.stack([m.values[wanted.name] for m in measured])
        means = [column[~np.isnan(column)].mean() for column in table.T if not np.isnan(column).all()]
        return float(np.mean(means)) if means else math.nan

    @staticmethod
    def _targets(cases: PerCaseValues, wanted: MetricSpec) -> list[str]:
        several = len(cases.targets) > 1 and wanted.metric.over_cases == "mean"
        return [*cases.targets, MEAN] if several else list(cases.targets)

    def _row(
        self,
        cases: PerCaseValues,
        wanted: MetricSpec,
        target: str,
        table: np.ndarray,
        split: str,
        group: str | None,
        baseline: str | None,
    ) -> ResultRow:
        columns = list(range(len(cases.targets))) if target == MEAN else [cases.targets.index(target)]
        values = table[:, columns]
        known = ~np.isnan(values).all(axis=1)
        present = int((cases.truth_size[:, columns] > 0).any(axis=1).sum())
        row = ResultRow(
            wanted.name, target, split, group, baseline, None, None, None, self.confidence.level, None,
            int(known.sum()), len(set(cases.patients[known].tolist())), present, wanted.metric.unit,
            wanted.metric.better,
        )  # fmt: skip
        if not known.any():
            return replace(row, note=self._why(cases, wanted))
        notes = []
        if not known.all():
            notes.append(f"{int((~known).sum())} of {len(known)} cases have no value")
        empty = [cases.targets[c] for c in columns if np.isnan(table[:, c]).all()]
        if empty:
            notes.append(f"without {', '.join(empty)}, which no case has")
        if wanted.metric.over_cases == "sum":
            noted = "; ".join([f"of {int(known.sum())} cases", *notes])
            return replace(row, value=float(np.nansum(values)), note=noted)
        statistic = _mean_over_folds(values, cases.fold)
        interval: Interval = bootstrap.bootstrap_interval(
            statistic,
            cases.patients,
            level=self.confidence.level,
            resamples=self.confidence.resamples,
            seed=self.seed,
        )
        notes += [interval.note] if interval.note else []
        return replace(
            row,
            value=float(statistic(np.ones((1, len(values))))[0]),
            low=interval.low,
            high=interval.high,
            method=interval.method,
            note="; ".join(notes) or None,
        )

    @staticmethod
    def _why(cases: PerCaseValues, wanted: MetricSpec) -> str:
        if wanted.metric.takes == "surface" and not cases.has_size:
            return "the files state no size of a pixel, so that there is no distance in mm"
        return ABSENT.get(wanted.name, "no case has the structure")


def _mean_over_folds(values: np.ndarray, fold: np.ndarray) -> bootstrap.Statistic:
    """Counts (r, n) to (r,): the mean over folds of the mean over targets of the mean over cases that have a value."""
    known, filled = ~np.isnan(values), np.nan_to_num(values)
    used = [t for t in range(values.shape[1]) if known[:, t].any()]
    folds = [f for f in np.unique(fold) if known[fold == f].any()]

    def statistic(weights: np.ndarray) -> np.ndarray:
        means = []
        for f in folds:
            w = weights[:, fold == f].astype(np.float64)
            total = w @ known[fold == f]
            with np.errstate(invalid="ignore", divide="ignore"):
                each = (w @ filled[fold == f]) / total  # (r, T), NaN where a resample has no case with a value
            here = [t for t in used if known[fold == f, t].any()]
            means.append(each[:, here].mean(axis=1))
        return np.mean(means, axis=0)

    return statistic
