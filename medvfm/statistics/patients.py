"""Cases summed by patient: cases of one patient are not independent, patients are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Patients:
    """Whose the cases are: codes (n,) from 0 to count - 1, in the order of the patients' names."""

    codes: np.ndarray
    count: int

    @classmethod
    def of(cls, labels: np.ndarray) -> Patients:
        """labels (n,) of any kind; refuses a case without a patient."""
        codes, names = pd.factorize(np.asarray(labels), sort=True)
        if (codes < 0).any():
            raise ValueError(f"{int((codes < 0).sum())} cases have no patient")
        return cls(codes, len(names))

    @property
    def alone(self) -> bool:
        """Every patient has one case."""
        return len(self.codes) == self.count

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(n, ...) of cases to (count, ...) of patients."""
        values = np.asarray(values, dtype=np.float64)
        if values.ndim == 1:
            return np.bincount(self.codes, weights=values, minlength=self.count)
        flat = values.reshape(len(values), -1)
        found = np.stack([np.bincount(self.codes, weights=c, minlength=self.count) for c in flat.T], axis=1)
        return found.reshape(self.count, *values.shape[1:])

    def among(self, cases: np.ndarray) -> int:
        """How many patients the cases where `cases` (n,) is true belong to."""
        return len(np.unique(self.codes[cases]))
