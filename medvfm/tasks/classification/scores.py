"""Scores beside their truth, one row a unit: what is evaluated, written to predictions.parquet, and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import DataError, PredictionError


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Units of one split with truth and score.

    truth (n, T) 0, 1 or NaN for unknown; scores (n, T); patients (n,); fold (n,) whole numbers, all 0 without folds;
    groups: column to (n,) values as text. `probabilities`: the scores are meant as such.
    """

    ids: tuple[str, ...]
    patients: Array
    targets: tuple[str, ...]
    truth: Array
    scores: Array
    probabilities: bool
    groups: Mapping[str, Array] = field(default_factory=dict)
    fold: Array = field(default_factory=lambda: np.zeros(0, dtype=int))

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.truth.shape != (n, len(self.targets)) or self.scores.shape != self.truth.shape:
            raise PredictionError(f"truth {self.truth.shape} and scores {self.scores.shape} for {n} units")
        if not np.isfinite(self.scores).all():
            bad = [i for i, row in zip(self.ids, self.scores, strict=True) if not np.isfinite(row).all()]
            raise PredictionError(f"{len(bad)} scores are no finite numbers: {', '.join(bad[:5])}")
        if len(self.fold) != n:
            object.__setattr__(self, "fold", np.zeros(n, dtype=int))

    def subset(self, keep: Array) -> ScoreTable:
        """The units where `keep` (n,) is true, or of those row numbers, in that order."""
        rows = np.flatnonzero(keep) if keep.dtype == bool else keep
        return ScoreTable(
            tuple(self.ids[r] for r in rows),
            self.patients[rows],
            self.targets,
            self.truth[rows],
            self.scores[rows],
            self.probabilities,
            {name: values[rows] for name, values in self.groups.items()},
            self.fold[rows],
        )

    def with_scores(self, scores: Array, probabilities: bool) -> ScoreTable:
        """The same units scored by something else."""
        return ScoreTable(
            self.ids, self.patients, self.targets, self.truth, scores, probabilities, self.groups, self.fold
        )

    def as_frame(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        """Long, for predictions.parquet."""
        n, t = self.truth.shape
        return pd.DataFrame(
            {
                "case_id": np.repeat(np.array(self.ids, dtype=object), t),
                "patient": np.repeat(np.array([hashed[str(p)] for p in self.patients], dtype=object), t),
                "split": split,
                "fold": np.repeat(self.fold, t),
                "target": np.tile(np.array(self.targets, dtype=object), n),
                "truth": self.truth.reshape(-1),
                "score": self.scores.reshape(-1),
                "baseline": baseline,
                "probability": self.probabilities,
            }
        )

    def measures(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> None:
        """Nothing is measured of single units."""
        return


def joined(parts: Sequence[ScoreTable]) -> ScoreTable:
    """Several folds' units, numbered by fold."""
    first = parts[0]
    return ScoreTable(
        tuple(i for p in parts for i in p.ids),
        np.concatenate([p.patients for p in parts]),
        first.targets,
        np.concatenate([p.truth for p in parts]),
        np.concatenate([p.scores for p in parts]),
        all(p.probabilities for p in parts),
        {name: np.concatenate([p.groups[name] for p in parts]) for name in first.groups},
        np.concatenate([np.full(len(p.ids), number) for number, p in enumerate(parts)]),
    )


def read_frame(table: pd.DataFrame) -> ScoreTable:
    """The rows of one split and baseline of predictions.parquet, in the order in which they were written."""
    targets = tuple(dict.fromkeys(table["target"]))
    once = table.iloc[:: len(targets)]
    wide = {name: table[name].to_numpy(float).reshape(len(once), len(targets)) for name in ("truth", "score")}
    groups = {c.removeprefix("group_"): once[c].to_numpy(object) for c in once.columns if c.startswith("group_")}
    return ScoreTable(
        tuple(once["case_id"]),
        once["patient"].to_numpy(object),
        targets,
        wide["truth"],
        wide["score"],
        bool(table["probability"].all()),
        groups,
        once["fold"].to_numpy(int),
    )


@dataclass(frozen=True, eq=False)
class Units:
    """Cases gathered into the units that are scored.

    members: for each unit the row numbers of its cases; ids, owners and first rows go with them.
    """

    ids: tuple[str, ...]
    members: tuple[Array, ...]

    @property
    def first(self) -> Array:
        """(u,) a row number of each unit, for what all its cases share (patient, split, groups)."""
        return np.array([m[0] for m in self.members], dtype=int)


def gather(cases: Sequence[Case], unit: str) -> Units:
    """Group cases by unit, in order of first appearance. A unit of one case keeps that case's id."""
    rows: dict[str, list[int]] = {}
    for row, case in enumerate(cases):
        if unit == "side" and case.laterality is None:
            raise DataError(f"task.unit side needs a laterality, and {case.case_id} has none")
        rows.setdefault(case.unit_key(unit), []).append(row)
    ids = tuple("+".join(dict.fromkeys(cases[r].case_id for r in members)) for members in rows.values())
    return Units(ids, tuple(np.array(m) for m in rows.values()))


def pooled_truth(truth: Array, units: Units, exclusive: bool) -> Array:
    """(u, T): a unit has a finding that any of its cases has; of ordinal and exclusive classes the cases must agree."""
    out = np.full((len(units.members), truth.shape[1]), np.nan)
    for u, members in enumerate(units.members):
        rows = truth[members]
        known = ~np.isnan(rows)
        if exclusive:
            rows = rows[known.all(axis=1)]
            if len(rows) and (rows == rows[0]).all():
                out[u] = rows[0]
        else:
            out[u, known.any(axis=0)] = np.nanmax(rows[:, known.any(axis=0)], axis=0)
    return out


def pooled_scores(scores: Array, units: Units, pool: str) -> Array:
    """(u, T) mean or max of the scores of a unit's cases."""
    rows = [scores[m].max(axis=0) if pool == "max" else scores[m].mean(axis=0) for m in units.members]
    return np.array(rows).reshape(len(units.members), scores.shape[1])
