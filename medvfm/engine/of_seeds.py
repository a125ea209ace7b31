"""Answers to the same units by one method that was trained with several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from medvfm.core.array import Array
from medvfm.core.protocols import Predictions


@dataclass(frozen=True, eq=False)
class OfSeeds:
    """Predictions of each seed, as core.protocols.Predictions. What is not a number is that of the first."""

    parts: tuple[Predictions, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return self.parts[0].ids

    @property
    def patients(self) -> Array:
        return self.parts[0].patients

    @property
    def fold(self) -> Array:
        return self.parts[0].fold

    @property
    def groups(self) -> Mapping[str, Array]:
        return self.parts[0].groups

    def subset(self, keep: Array) -> OfSeeds:
        return OfSeeds(tuple(part.subset(keep) for part in self.parts))

    def as_frame(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        return self.parts[0].as_frame(split, hashed, baseline)

    def measures(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame | None:
        return self.parts[0].measures(split, hashed, baseline)
