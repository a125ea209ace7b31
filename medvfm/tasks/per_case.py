"""Values of single cases, and estimands over them: means, medians and sums, for tasks that score case by case.

A value is computed within folds and averaged over them. A case in which a number does not exist (a structure that the
truth does not hold has no Dice) is left out of that mean and counted in the note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.metric_spec import MetricSpec
from medvfm.io.run_directory import MEASURES, PREDICTIONS
from medvfm.statistics import means, shares
from medvfm.statistics.estimand import Estimand, Statistic, few_patients, jackknifed
from medvfm.statistics.patients import Patients
from medvfm.statistics.shares import Share, Shares
from medvfm.statistics.spread import Spread

MEAN = "mean"
Why = Callable[[MetricSpec], str]  # why no case has a value


@dataclass(frozen=True, eq=False)
class PerCaseValues:
    """Cases of one split, and what was measured of each.

    values    name of a metric or measure to (n, T), NaN where it does not exist
    present   (n, T) of bool: the case counts as positive for the target; None where nothing is positive
    table     column of predictions.parquet to (n, T): truth, score, answer, rank, mask
    has_size  every image states the size of its pixels
    """

    ids: tuple[str, ...]
    patients: Array
    fold: Array
    targets: tuple[str, ...]
    values: Mapping[str, Array]
    present: Array | None
    table: Mapping[str, Array] = field(default_factory=dict)
    groups: Mapping[str, Array] = field(default_factory=dict)
    has_size: bool = True

    def subset(self, keep: Array) -> PerCaseValues:
        """The cases where `keep` (n,) is true, or of those row numbers, in that order."""
        rows = np.flatnonzero(keep) if keep.dtype == bool else keep
        return PerCaseValues(
            tuple(self.ids[r] for r in rows),
            self.patients[rows],
            self.fold[rows],
            self.targets,
            {name: values[rows] for name, values in self.values.items()},
            None if self.present is None else self.present[rows],
            {name: values[rows] for name, values in self.table.items()},
            {name: values[rows] for name, values in self.groups.items()},
            self.has_size,
        )

    def as_frame(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        """Long, for predictions.parquet."""
        columns = {name: values.reshape(-1) for name, values in self.table.items()}
        return self._long(split, hashed, baseline).assign(**columns, has_size=self.has_size)

    def measures(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        """Long, for measures.parquet: a row a case, target and measure, with its value."""
        whose = self._long(split, hashed, baseline)
        parts = [whose.assign(metric=name, value=values.reshape(-1)) for name, values in self.values.items()]
        return pd.concat(parts, ignore_index=True) if parts else whose.assign(metric="", value=0.0)

    def _long(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        n, t = len(self.ids), len(self.targets)
        return pd.DataFrame(
            {
                "case_id": np.repeat(np.array(self.ids, dtype=object), t),
                "patient": np.repeat(np.array([hashed[str(p)] for p in self.patients], dtype=object), t),
                "split": split,
                "fold": np.repeat(self.fold, t),
                "target": np.tile(np.array(self.targets, dtype=object), n),
                "baseline": baseline,
            }
        )


def joined(parts: Sequence[PerCaseValues]) -> PerCaseValues:
    """Several folds' cases, numbered by fold."""
    first = parts[0]
    return PerCaseValues(
        tuple(i for p in parts for i in p.ids),
        np.concatenate([p.patients for p in parts]),
        np.concatenate([np.full(len(p.ids), number) for number, p in enumerate(parts)]),
        first.targets,
        {name: np.concatenate([p.values[name] for p in parts]) for name in first.values},
        None if first.present is None else np.concatenate([p.present for p in parts if p.present is not None]),
        {name: np.concatenate([p.table[name] for p in parts]) for name in first.table},
        {name: np.concatenate([p.groups[name] for p in parts]) for name in first.groups},
        all(p.has_size for p in parts),
    )


def read_frames(predictions: pd.DataFrame, measures: pd.DataFrame) -> PerCaseValues:
    """The rows of one split and baseline of a run's two tables; measures are matched by case, fold and target."""
    targets = tuple(dict.fromkeys(predictions["target"]))
    once = predictions.iloc[:: len(targets)]
    shape = (len(once), len(targets))
    keys = ["case_id", "fold", "target"]
    wide = {
        str(name): predictions[keys]
        .merge(part, on=keys, how="left", validate="1:1")["value"]
        .to_numpy(float)
        .reshape(shape)
        for name, part in measures.groupby("metric", sort=False)
    }
    known = {"case_id", "patient", "split", "fold", "target", "baseline", "threshold", "has_size", "task"}
    columns = [c for c in predictions.columns if c not in known and not c.startswith("group_")]
    size = wide.get("truth_size")
    return PerCaseValues(
        tuple(once["case_id"]),
        once["patient"].to_numpy(object),
        once["fold"].to_numpy(int),
        targets,
        wide,
        None if size is None else size > 0,
        {c: predictions[c].to_numpy(object).reshape(shape) for c in columns},
        {c.removeprefix("group_"): once[c].to_numpy(object) for c in once.columns if c.startswith("group_")},
        bool(predictions["has_size"].all()),
    )


def read_run(directory: Path, task: str) -> dict[tuple[str, str | None], PerCaseValues]:
    """A finished run's values by (split, baseline)."""
    given, measured = (rows_of_task(pd.read_parquet(directory / name), task) for name in (PREDICTIONS, MEASURES))
    found: dict[tuple[str, str | None], PerCaseValues] = {}
    for (split, name), part in given.groupby(["split", "baseline"], sort=False):
        mine = measured[(measured["split"] == split) & (measured["baseline"] == name)]
        found[str(split), str(name) or None] = read_frames(part, mine)
    return found


def rows_of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of one task of a run's table, with "" in place of a missing baseline."""
    mine = table[table["task"] == task] if "task" in table else table
    return mine.assign(baseline=mine["baseline"].fillna(""))


def estimands(cases: PerCaseValues, specs: Sequence[MetricSpec], why: Why) -> list[Estimand]:
    """Every metric for each target, and their mean where there are several; `why` says why no case has a value."""
    return [
        _estimand(cases, spec, target, cases.values[spec.name], why) for spec in specs for target in _of(cases, spec)
    ]


def _of(cases: PerCaseValues, spec: MetricSpec) -> list[str]:
    several = len(cases.targets) > 1 and spec.metric.over_cases != "sum"
    return [*cases.targets, MEAN] if several else list(cases.targets)


def _estimand(
    cases: PerCaseValues, spec: MetricSpec, target: str, table: Array, why: Why, apart: bool = False
) -> Estimand:
    columns = list(range(len(cases.targets))) if target == MEAN else [cases.targets.index(target)]
    values = table[:, columns]
    known = np.asarray(~np.isnan(values).all(axis=1))
    present = None if cases.present is None else int(cases.present[:, columns].any(axis=1).sum())

    def minus(other: Estimand) -> Estimand:
        """Case by case, over the cases where both exist; a mean of draws has no values of cases, only one of all."""
        if other.values is None:
            return _less_mean_of_draws(whole, other, cases)
        less = np.full(table.shape, np.nan)
        less[:, columns] = values - other.values
        found = _estimand(cases, spec, target, less, why, True)
        ours, theirs = whole.spread, other.spread
        if isinstance(ours, Share | Shares) and found.value is not None and theirs is not None:
            shared = ours.minus(theirs)
            same = shared is not None and abs(shared.value - found.value) < 1e-12
            return replace(found, spread=shared) if same else found
        return found

    summed = spec.metric.over_cases == "sum"
    found = whole = Estimand(spec, target, None, known, present, values=values, minus=None if summed else minus)
    if not known.any():
        return replace(found, reason=why(spec))
    patients = Patients.of(cases.patients)
    notes = [] if summed else [few_patients([(patients.among(known), "")])]
    if not known.all():
        notes.append(f"{int((~known).sum())} of {len(known)} cases have no value")
    empty = [cases.targets[c] for c in columns if np.isnan(table[:, c]).all()]
    if empty:
        notes.append(f"without {', '.join(empty)}, which no case has")
    said = tuple(note for note in notes if note)
    if summed:
        counted = (f"of {int(known.sum())} cases", *said)
        return replace(found, value=float(np.nansum(values)), notes=counted)
    middle = spec.metric.over_cases == "median"
    statistic = _over_folds(values, cases.fold, _medians if middle else _means)
    whole = replace(
        found,
        value=float(statistic(np.ones((1, len(values))))[0]),
        notes=said,
        statistic=statistic,
        spread=None if middle else _spread(spec, values, cases.fold, patients, apart),
    )
    return whole


def _spread(spec: MetricSpec, values: Array, fold: Array, patients: Patients, apart: bool) -> Spread:
    """Of the mean of 0 and 1 that of a share, of other numbers that of a mean."""
    low, high = spec.metric.within
    known = values[~np.isnan(values)]
    held = [c for c in values.T if not np.isnan(c).all()]
    folds = [[f for f in np.unique(fold) if not np.isnan(c[fold == f]).all()] for c in held]
    if not apart and np.isin(known, (0, 1)).all() and all(f == folds[0] for f in folds):
        return shares.mean_of([Share(np.nan_to_num(c), (~np.isnan(c)).astype(float), fold, patients) for c in held])
    if apart:
        low, high = (low - high, high - low) if np.isfinite(high - low) else (-np.inf, np.inf)
    return means.over_folds(values, fold, patients, (low, high))


def _less_mean_of_draws(mine: Estimand, other: Estimand, cases: PerCaseValues) -> Estimand:
    ours, theirs = mine.statistic, other.statistic
    if mine.value is None or other.value is None or ours is None or theirs is None:
        reason = mine.reason or other.reason or "not defined"
        return replace(mine, value=None, statistic=None, spread=None, reason=reason)

    def statistic(weights: Array) -> Array:
        return np.asarray(ours(weights) - theirs(weights))

    apart = replace(mine, value=mine.value - other.value, statistic=statistic, spread=None, values=None, minus=None)
    if mine.spread is None or apart.value is None:
        return apart
    spread = jackknifed(statistic, apart.value, mine, cases.patients)
    return replace(apart, spread=replace(spread, within=(-np.inf, np.inf)))


Over = Callable[[Array, Array, Array], Array]  # counts (r, m), filled and known (m, T) to (r, T)


def _over_folds(values: Array, fold: Array, over: Over) -> Statistic:
    """Counts (r, n) to (r,): the mean over folds of the mean over targets of what `over` gives of the cases with a
    value; NaN where a resample has no case with one."""
    known, filled = ~np.isnan(values), np.nan_to_num(values)
    used = [t for t in range(values.shape[1]) if known[:, t].any()]
    folds = [f for f in np.unique(fold) if known[fold == f].any()]

    def statistic(weights: Array) -> Array:
        means = []
        for f in folds:
            rows = fold == f
            each = over(weights[:, rows].astype(np.float64), filled[rows], known[rows])
            here = [t for t in used if known[rows, t].any()]
            means.append(each[:, here].mean(axis=1))
        return np.mean(means, axis=0)

    return statistic


def _means(weights: Array, filled: Array, known: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ filled) / (weights @ known)


def _medians(weights: Array, filled: Array, known: Array) -> Array:
    """The middle value, or the mean of the two in the middle, of each case as often as its count says."""
    found = np.full((len(weights), filled.shape[1]), np.nan)
    for t in range(filled.shape[1]):
        rows = np.flatnonzero(known[:, t])
        if not len(rows):
            continue
        order = rows[np.argsort(filled[rows, t], kind="stable")]
        upto = weights[:, order].cumsum(axis=1)
        total = upto[:, -1:]
        last = len(order) - 1
        below = np.minimum((upto < total / 2).sum(axis=1), last)
        above = np.minimum((upto <= total / 2).sum(axis=1), last)
        middle = (filled[order[below], t] + filled[order[above], t]) / 2
        found[:, t] = np.where(total[:, 0] > 0, middle, np.nan)
    return found
