"""What a segmenter must beat: an ellipse in the box that it was given, and where the structure usually lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import nn

from medvfm.core.array import Array
from medvfm.core.item import Item
from medvfm.core.protocols import Batch, Record
from medvfm.models.inputs.volumes import VolumePreparer
from medvfm.tasks.untrained import UntrainedBaseline

BUILT_IN = {
    "ellipse": "the ellipse inscribed in the true box of each object or structure",
    "location": "the structure that training cases have most often at each place; the image is not looked at",
}


class _OfMasks(UntrainedBaseline):
    def __init__(self, preparer: VolumePreparer) -> None:
        self.preparer, self.module = preparer, nn.Module()

    def collate(self, examples: Sequence[Item]) -> Batch:
        return {"cases": [item.case for item in examples]}


class Ellipse(_OfMasks):
    """The ellipse inscribed in the true box of each object, or of each structure in each slice."""

    oracle: str | None = "oracle prompt: a true box for each object"

    def __init__(self, preparer: VolumePreparer, kind: str) -> None:
        super().__init__(preparer)
        self._kind = kind

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[Array]:
        return [self._mask(item) for item in items]

    def _mask(self, item: Item) -> Array:
        assert item.truth is not None and item.grid is not None
        if self._kind == "multi_label":
            filled = np.stack([_ellipses(layer) > 0 for layer in item.truth])
            return np.stack([item.grid.to_source(layer) for layer in filled], axis=-1)
        return item.grid.to_source(_ellipses(item.truth))


def _ellipses(truth: Array) -> Array:
    """(S, H, W): each value's box in each slice, filled with its ellipse; smaller ones lie over larger ones."""
    filled = np.zeros_like(truth)
    for number, picture in enumerate(truth):
        boxes = sorted(
            ((v, *_box(picture == v)) for v in np.unique(picture) if v), key=lambda b: -(b[2] - b[1]) * (b[4] - b[3])
        )
        for value, top, bottom, left, right in boxes:
            rows, columns = np.ogrid[top:bottom, left:right]
            y = (rows + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
            x = (columns + 0.5 - (left + right) / 2) / ((right - left) / 2)
            filled[number, top:bottom, left:right][y**2 + x**2 <= 1] = value
    return filled


def _box(mask: Array) -> tuple[int, int, int, int]:
    """First and one past the last row and column."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


class Location(_OfMasks):
    """Each voxel gets the structure that training cases have most often there, images centred on each other.

    Nothing of the image is looked at: what a segmenter scores above this it has seen.
    """

    oracle: str | None = None

    def __init__(self, preparer: VolumePreparer, classes: int) -> None:
        super().__init__(preparer)
        self._classes = classes
        self._votes = np.zeros((classes + 1, 1, 1, 1), np.float32)

    def fit_items(self, items: Iterable[Item]) -> Record:
        truths = [item.truth for item in items if item.truth is not None]  # memory-mapped, or views of such
        shapes = np.array([truth.shape for truth in truths])
        self._votes = np.zeros((self._classes + 1, *np.median(shapes, axis=0).astype(int)), np.float32)
        for truth in truths:
            placed = _centred(truth, self._votes.shape[1:])
            for value in range(self._classes + 1):
                self._votes[value] += placed == value
        return {"choice": {"cases": len(truths)}}

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[Array]:
        prior = self._votes.argmax(axis=0).astype(np.uint8)
        found = []
        for item in items:
            assert item.grid is not None
            found.append(item.grid.to_source(_centred(prior, item.grid.shape)))
        return found


def _centred(labels: Array, shape: tuple[int, ...]) -> Array:
    """Cut or padded with background about the centre."""
    out = np.zeros(shape, labels.dtype)
    here, there = [], []
    for have, want in zip(labels.shape, shape, strict=True):
        size = min(have, want)
        here.append(slice((have - size) // 2, (have - size) // 2 + size))
        there.append(slice((want - size) // 2, (want - size) // 2 + size))
    out[tuple(there)] = labels[tuple(here)]
    return out
