"""What a segmenter must beat: an ellipse in the box that it was given, and where the structure usually lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medvfm.core.case import Case
from medvfm.engine.context import RunContext
from medvfm.engine.mask_store import MaskStore

BUILT_IN = ("ellipse", "location")


class Ellipse:
    """The ellipse inscribed in the true box of each object, or of each structure in each slice."""

    oracle = "oracle prompt: a true box for each object"

    def __init__(self, store: MaskStore, kind: str) -> None:
        self.store, self._kind = store, kind

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        return self.store.read(cases, around)

    def fit(self, train_rows: np.ndarray, val_rows: np.ndarray, score: Callable[..., float] | None) -> dict[str, Any]:
        return {}

    def segment(self, row: int, variant: str | None = None) -> np.ndarray:
        item = self.store.item(row, with_truth=True)
        assert item.truth is not None
        if self._kind == "multi_label":
            drawn = np.stack([_ellipses(layer) > 0 for layer in item.truth])
            return np.stack([item.grid.to_source(layer) for layer in drawn], axis=-1)
        return item.grid.to_source(_ellipses(item.truth))


def _ellipses(truth: np.ndarray) -> np.ndarray:
    """(S, H, W): each value's box in each slice, filled with its ellipse; smaller ones lie over larger ones."""
    drawn = np.zeros_like(truth)
    for number, picture in enumerate(truth):
        boxes = sorted(
            ((v, *_box(picture == v)) for v in np.unique(picture) if v), key=lambda b: -(b[2] - b[1]) * (b[4] - b[3])
        )
        for value, top, bottom, left, right in boxes:
            rows, columns = np.ogrid[top:bottom, left:right]
            y = (rows + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
            x = (columns + 0.5 - (left + right) / 2) / ((right - left) / 2)
            drawn[number, top:bottom, left:right][y**2 + x**2 <= 1] = value
    return drawn


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and one past the last row and column."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


class Location:
    """Each voxel gets the structure that training cases have most often there, images centred on each other.

    Nothing of the image is looked at: what a segmenter scores above this it has seen.
    """

    oracle = None

    def __init__(self, store: MaskStore, classes: int) -> None:
        self.store, self._classes = store, classes
        self._votes = np.zeros((classes + 1, 1, 1, 1), np.float32)

    def read(self, cases: Sequence[Case], around: RunContext) -> tuple[list[Case], list[tuple[str, str]]]:
        return self.store.read(cases, around)

    def fit(self, train_rows: np.ndarray, val_rows: np.ndarray, score: Callable[..., float] | None) -> dict[str, Any]:
        shapes = np.array([self.store.grid(int(r)).shape for r in train_rows])
        self._votes = np.zeros((self._classes + 1, *np.median(shapes, axis=0).astype(int)), np.float32)
        for row in train_rows:
            truth = self.store.item(int(row), with_truth=True).truth
            assert truth is not None
            placed = _centred(truth, self._votes.shape[1:])
            for value in range(self._classes + 1):
                self._votes[value] += placed == value
        return {"choice": {"cases": len(train_rows)}}

    def segment(self, row: int, variant: str | None = None) -> np.ndarray:
        grid = self.store.grid(row)
        prior = self._votes.argmax(axis=0).astype(np.uint8)
        return grid.to_source(_centred(prior, grid.shape))


def _centred(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cut or padded with background about the centre."""
    out = np.zeros(shape, labels.dtype)
    here, there = [], []
    for have, want in zip(labels.shape, shape, strict=True):
        size = min(have, want)
        here.append(slice((have - size) // 2, (have - size) // 2 + size))
        there.append(slice((want - size) // 2, (want - size) // 2 + size))
    out[tuple(there)] = labels[tuple(here)]
    return out
