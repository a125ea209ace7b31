"""What a classifier must beat: predictors that need no foundation model, as adapters scored on the same cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from medvfm.core.array import Array
from medvfm.core.capabilities import Choose, Embedded, FeatureAdapter
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError, UnreadableImage
from medvfm.core.image import Image
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter, Batch, Preparer, Record, Windows
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.nn import probe
from medvfm.tasks.untrained import NoImages, UntrainedBaseline

BUILT_IN = {
    "prevalence": "every case gets the share of positives among the training cases",
    "intensity": "a probe on mean, deviation and histogram of the voxels",
    "attributes": "a probe on columns of the cases table, such as age, sex, view",
    "image_and_attributes": "a probe on the frozen features and those columns together",
}
BINS = 32
VERSION = 1
Labels = Callable[[Sequence[Case]], Array]  # cases to truth (n, T)


class _Scoring(UntrainedBaseline):
    """Scores of these baselines are shares and probabilities, many cases at once."""

    probabilities = True
    answers_at_once = 8


class Prevalence(_Scoring):
    """Every case gets the share of positives among the training cases, 0 where no label is known."""

    def __init__(self, labels: Labels) -> None:
        self.preparer: Preparer = NoImages()
        self.module, self._labels = nn.Module(), labels
        self._share = np.zeros(0)

    def collate(self, examples: Sequence[Item]) -> Batch:
        return {"cases": [item.case for item in examples]}

    def fit_items(self, items: Iterable[Item]) -> Record:
        truth = self._labels([item.case for item in items])
        known = ~np.isnan(truth)
        self._share = np.where(known, truth, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return {"choice": {"share": self._share.tolist()}}

    def answer(self, items: Sequence[Item], variant: str | None = None) -> Array:
        return np.repeat(self._share[None], len(items), axis=0)


@dataclass(frozen=True)
class Histogram:
    """Mean and deviation of the voxels, and their histogram over the window: (2 + BINS,) numbers a case."""

    prepare: Prepare
    windows: Windows = field(default_factory=dict)
    read: Mapping[str, object] = field(default_factory=dict)
    role: str = "image"

    def intensity(self) -> windowing.Rule:
        """The window that values are shown in: the recipe's, or one that fits the image."""
        wanted = self.prepare.windows
        if isinstance(wanted, str) and wanted in self.windows:
            return self.windows[wanted]
        return "auto" if wanted is None else wanted

    def key(self) -> str:
        parts = [VERSION, BINS, self.intensity(), self.prepare.invalid, dict(self.read), self.role]
        return f"intensity-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        if self.role not in case.images:
            raise UnreadableImage(f"{case.case_id} has no image in the role {self.role!r}")
        return case.images[self.role]

    def images(self, case: Case) -> list[Image]:
        return [read_image(path, nan=self.prepare.invalid, **self.read) for path in self.files(case)]  # type: ignore[arg-type]

    def arrays(self, images: Sequence[Image], case: Case) -> Mapping[str, Array]:
        return {"pixels": np.mean([self.of_image(image) for image in images], axis=0).astype(np.float32)}

    def grid(self, arrays: Mapping[str, Array]) -> SliceGrid | None:
        return None

    def of_image(self, image: Image) -> Array:
        """(2 + BINS,) numbers of one image."""
        voxels = image.voxels
        low, high = windowing.intensity_range(image, self.intensity())
        shown = windowing.window(voxels, low, high)
        histogram = np.histogram(shown, bins=BINS, range=(0, 1))[0] / shown.size
        return np.array([voxels.mean(), voxels.std(), *histogram], dtype=np.float64)


class PooledFeatures(Protocol):
    """A feature adapter whose features can be had as one vector a case."""

    def pooled(self, features: Array) -> torch.Tensor: ...


class Probe(_Scoring):
    """A probe on histograms of the voxels, on columns of the table, or on columns beside another model's features."""

    def __init__(
        self, labels: Labels, kind: str, where: str, *, preparer: Histogram | None = None,
        columns: Sequence[str] = (), beside: Adapter | None = None,
    ) -> None:  # fmt: skip
        self._labels, self._kind, self._beside = labels, kind, beside
        self._columns = Columns(columns, where)
        self.preparer: Preparer = beside.preparer if beside is not None else preparer or NoImages()
        self.module = beside.module if beside is not None else nn.Module()
        self._probe: nn.Module = nn.Identity()

    def collate(self, examples: Sequence[Item]) -> Batch:
        if self._beside is not None:
            return self._beside.collate(examples)
        return {"values": np.stack([i.arrays.get("pixels", np.zeros(0, np.float32)) for i in examples])}

    def embed(self, batch: Batch) -> torch.Tensor:
        if self._beside is not None:
            assert isinstance(self._beside, FeatureAdapter)
            return self._beside.embed(batch)
        return torch.from_numpy(batch["values"])

    def features_key(self) -> str:
        if self._beside is not None:
            assert isinstance(self._beside, FeatureAdapter)
            return self._beside.features_key()
        return self.preparer.key()

    def fit_features(self, train: Embedded, val: Embedded, choose: Choose | None, seed: int) -> Record:
        self._columns.fit(train.cases)
        self._probe, record = probe.sweep(
            (self._values(train), torch.as_tensor(self._labels(train.cases))),
            (self._values(val), torch.as_tensor(self._labels(val.cases))),
            choose,
            kind=self._kind,
        )
        return record

    def answer_features(self, features: Embedded) -> Array:
        with torch.inference_mode():
            return probe.probabilities(self._probe(self._values(features)), self._kind).double().numpy()

    def answer(self, items: Sequence[Item], variant: str | None = None) -> Array:
        values = self.embed(self.collate(items)).float().cpu().numpy()
        return self.answer_features(Embedded(values, [item.case for item in items]))

    def _values(self, features: Embedded) -> torch.Tensor:
        fixed = features.values
        if self._beside is not None:
            pooling: PooledFeatures = self._beside  # type: ignore[assignment]
            fixed = np.asarray(pooling.pooled(features.values))
        columns = self._columns(features.cases)
        return torch.as_tensor(np.concatenate([fixed.reshape(len(columns), -1), columns], axis=1), dtype=torch.float32)


class Columns:
    """Columns of the table as numbers (n, d): numbers as they are with a column for `missing`, categories one-hot.

    Categories and the fill-in for a missing number (the training mean) come from training cases alone.
    """

    def __init__(self, names: Sequence[str], where: str) -> None:
        self._names, self._where = names, where
        self._fitted: list[tuple[str, list[str] | float]] = []

    def fit(self, cases: Sequence[Case]) -> None:
        self._fitted = []
        for name in self._names:
            values = [case.groups.get(name) for case in cases]
            if all(v is None for v in values):
                known = sorted({column for case in cases for column in case.groups})
                raise RecipeError(
                    f"no column {name!r} in the cases", where=self._where, remedy=f"there are: {', '.join(known)}"
                )
            if any(isinstance(v, str) and v for v in values):
                self._fitted.append((name, sorted({str(v) for v in values if v not in (None, "")})))
                continue
            numbers = [float(v) for v in values if isinstance(v, int | float) and not np.isnan(v)]
            self._fitted.append((name, float(np.mean(numbers)) if numbers else 0.0))

    def __call__(self, cases: Sequence[Case]) -> Array:
        parts: list[Array] = []
        for name, fitted in self._fitted:
            values = [case.groups.get(name) for case in cases]
            if isinstance(fitted, list):
                parts += [np.array([str(v) == category for v in values], dtype=float) for category in fitted]
                continue
            numbers = np.array([v if isinstance(v, int | float) else np.nan for v in values], dtype=float)
            parts += [np.where(np.isnan(numbers), fitted, numbers), np.isnan(numbers).astype(float)]
        return np.stack(parts, axis=1).astype(np.float32) if parts else np.zeros((len(cases), 0), np.float32)
