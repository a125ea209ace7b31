"""Scores beside their truth, one row a unit: what is evaluated, written to predictions.parquet, and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medvfm.core.errors import PredictionError

EVERYONE: str | None = None


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Units of one split with truth and score.

    truth (n, T) 0, 1 or NaN for unknown; scores (n, T); patients (n,); fold (n,) whole numbers, all 0 without folds;
    groups: column to (n,) values as text.
    """

    ids: tuple[str, ...]
    patients: np.ndarray
    targets: tuple[str, ...]
    truth: np.ndarray
    scores: np.ndarray
    probabilities: bool
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    fold: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.truth.shape != (n, len(self.targets)) or self.scores.shape != self.truth.shape:
            raise PredictionError(f"truth {self.truth.shape} and scores {self.scores.shape} for {n} units")
        if not np.isfinite(self.scores).all():
            bad = [i for i, row in zip(self.ids, self.scores, strict=True) if not np.isfinite(row).all()]
            raise PredictionError(f"{len(bad)} scores are no finite numbers: {', '.join(bad[:5])}")
        if self.fold is None:
            object.__setattr__(self, "fold", np.zeros(n, dtype=int))

    def subset(self, keep: np.ndarray) -> ScoreTable:
        """The units where `keep` (n,) is true, or of those row numbers, in that order."""
        rows = np.flatnonzero(keep) if keep.dtype == bool else keep
        assert self.fold is not None
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

    def with_scores(self, scores: np.ndarray, probabilities: bool) -> ScoreTable:
        """The same units scored by something else."""
        return ScoreTable(
            self.ids, self.patients, self.targets, self.truth, scores, probabilities, self.groups, self.fold
        )

    def as_frame(self, split: str, hashed: Mapping[str, str]) -> pd.DataFrame:
        """Long: case_id, patient (keyed hash), split, target, truth, score; `fold` where there are folds."""
        assert self.fold is not None
        n, t = self.truth.shape
        frame = pd.DataFrame(
            {
                "case_id": np.repeat(np.array(self.ids, dtype=object), t),
                "patient": np.repeat(np.array([hashed[str(p)] for p in self.patients], dtype=object), t),
                "split": split,
                "target": np.tile(np.array(self.targets, dtype=object), n),
                "truth": self.truth.reshape(-1),
                "score": self.scores.reshape(-1),
            }
        )
        if self.fold.any():
            frame["fold"] = np.repeat(self.fold, t)
        return frame


def concatenated(parts: list[ScoreTable]) -> ScoreTable:
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
