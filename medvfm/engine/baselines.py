"""What a model has to beat: predictors that need no foundation model, scored on the same cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import RecipeError, UnreadableImage
from medvfm.core.recipe import Prepare
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing as pictures

BUILT_IN = {
    "prevalence": "every case gets the share of positives among the training cases",
    "intensity": "a probe on mean, deviation and histogram of the voxels",
    "attributes": "a probe on columns of the cases table, such as age, sex, view",
    "image_and_attributes": "a probe on the frozen features and those columns together",
}
BINS = 32
VERSION = 1


@dataclass(frozen=True)
class Intensity:
    """Mean and deviation of the voxels, and their histogram over the window: (2 + BINS,) numbers a case."""

    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    role: str = "image"

    def _intensity(self) -> Any:
        wanted = self.prepare.windows
        if isinstance(wanted, str) and wanted in self.windows:
            return self.windows[wanted]
        return "auto" if wanted is None else wanted

    def key(self) -> str:
        parts = [VERSION, BINS, self._intensity(), self.prepare.invalid, dict(self.read), self.role]
        return f"intensity-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        if self.role not in case.images:
            raise UnreadableImage(f"{case.case_id} has no image in the role {self.role!r}")
        return case.images[self.role]

    def __call__(self, case: Case) -> np.ndarray:
        return np.mean([self._of_file(path) for path in self.files(case)], axis=0).astype(np.float32)

    def _of_file(self, path: Path) -> np.ndarray:
        image = read_image(path, nan=self.prepare.invalid, **self.read)
        voxels = image.voxels
        low, high = pictures.intensity_range(image, self._intensity())
        shown = pictures.window(voxels, low, high)
        histogram = np.histogram(shown, bins=BINS, range=(0, 1))[0] / shown.size
        return np.array([voxels.mean(), voxels.std(), *histogram], dtype=np.float64)


def prevalence(truth: np.ndarray) -> np.ndarray:
    """(T,) the share of positives among the known labels (n, T) of each target; 0 where none is known."""
    known = ~np.isnan(truth)
    return np.where(known, truth, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def attributes(cases: Sequence[Case], columns: Sequence[str], train: np.ndarray, where: str) -> np.ndarray:
    """(n, d): numbers as they are with a column for `missing`, categories of the training cases one-hot.

    Categories and the fill-in for a missing number (the training mean) come from training cases alone.
    """
    parts: list[np.ndarray] = []
    for column in columns:
        values = [case.groups.get(column) for case in cases]
        if all(v is None for v in values):
            known = sorted({name for case in cases for name in case.groups})
            raise RecipeError(
                f"no column {column!r} in the cases", where=where, remedy=f"there are: {', '.join(known)}"
            )
        numbers = np.array([v if isinstance(v, int | float) else np.nan for v in values], dtype=float)
        if any(isinstance(v, str) and v for v in values):
            categories = sorted({str(values[r]) for r in train if values[r] not in (None, "")})
            parts += [np.array([str(v) == c for v in values], dtype=float) for c in categories]
            continue
        known_train = numbers[train][~np.isnan(numbers[train])]
        fill = float(known_train.mean()) if len(known_train) else 0.0
        parts += [np.where(np.isnan(numbers), fill, numbers), np.isnan(numbers).astype(float)]
    return np.stack(parts, axis=1).astype(np.float32) if parts else np.zeros((len(cases), 0), np.float32)
