"""What models give back. Each record checks itself, so that nothing malformed reaches a metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvfm.core.errors import PredictionError


def _checked_ids(case_ids: tuple[str, ...], count: int) -> None:
    if len(case_ids) != count:
        raise PredictionError(f"{count} predictions for {len(case_ids)} cases")
    if len(set(case_ids)) != len(case_ids):
        seen: set[str] = set()
        doubled = [c for c in case_ids if c in seen or seen.add(c)]  # type: ignore[func-returns-value]
        raise PredictionError(f"case_id stands more than once: {', '.join(doubled[:5])}")


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of cases for targets.

    values (n, t) float64, higher means the target is more likely. `probabilities` says whether a value is meant as one.
    """

    case_ids: tuple[str, ...]
    targets: tuple[str, ...]
    values: np.ndarray
    probabilities: bool = True

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.shape != (len(self.case_ids), len(self.targets)):
            raise PredictionError(
                f"scores of shape {values.shape} for {len(self.case_ids)} cases and {len(self.targets)} targets"
            )
        _checked_ids(self.case_ids, len(values))
        bad = [c for c, row in zip(self.case_ids, values, strict=True) if not np.isfinite(row).all()]
        if bad:
            raise PredictionError(f"{len(bad)} cases have a score that is no finite number: {', '.join(bad[:5])}")
        if self.probabilities and values.size and (values.min() < 0 or values.max() > 1):
            raise PredictionError(f"scores from {values.min():g} to {values.max():g} are no probabilities")
        object.__setattr__(self, "values", values)

    def column(self, target: str) -> np.ndarray:
        """(n,) scores of one target."""
        return self.values[:, self.targets.index(target)]


@dataclass(frozen=True, eq=False)
class Masks:
    """One label map a case, on the grid of the source image.

    arrays: (i, j, k) whole numbers; `labels` names the values. Background is 0 and has no name.
    """

    case_ids: tuple[str, ...]
    labels: dict[int, str]
    arrays: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        _checked_ids(self.case_ids, len(self.arrays))
        for case_id, array in zip(self.case_ids, self.arrays, strict=True):
            if array.ndim != 3 or not np.issubdtype(array.dtype, np.integer):
                raise PredictionError(
                    f"mask of {case_id}: expected (i, j, k) whole numbers, not {array.dtype} {array.shape}"
                )
            unnamed = set(np.unique(array).tolist()) - set(self.labels) - {0}
            if unnamed:
                raise PredictionError(f"mask of {case_id} holds values without a name: {sorted(unnamed)[:5]}")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """(n, d) features of cases."""

    case_ids: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        _checked_ids(self.case_ids, len(self.values))
        if self.values.ndim != 2 or not np.isfinite(self.values).all():
            raise PredictionError(f"embeddings of shape {self.values.shape}: expected finite (n, d)")


@dataclass(frozen=True)
class Answers:
    """One text a case."""

    case_ids: tuple[str, ...]
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        _checked_ids(self.case_ids, len(self.texts))
