"""Prompts of a promptable segmenter: boxes, points and masks, derived from masks, jittered, and
converted between coordinate frames.

A pixel's centre has whole-number coordinates, x across and y down. A box (x0, y0, x1, y1) names its first and last
column and row, as SAM and MedSAM take boxes from masks: one pixel is the box (x, y, x, y).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage

POSITIVE, NEGATIVE, NO_POINT = 1, 0, -1


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts of M objects, in the frame of the pictures they lie in.

    picture       (M,) which picture of the batch an object lies in
    boxes_px      (M, 4) x0, y0, x1, y1; NaN for an object without a box
    points_px     (M, P, 2) x, y
    point_labels  (M, P) 1 on the object, 0 off it, -1 padding
    masks         (M, h, w) logits of an earlier mask, at any resolution, over the whole picture
    """

    picture: torch.Tensor
    boxes_px: torch.Tensor | None = None
    points_px: torch.Tensor | None = None
    point_labels: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if (self.points_px is None) != (self.point_labels is None):
            raise ValueError("points and their labels come together")
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None and len(value) != len(self.picture):
                raise ValueError(f"{part.name} of {len(value)} objects, picture of {len(self.picture)}")

    def __len__(self) -> int:
        return len(self.picture)

    def __getitem__(self, rows: slice | torch.Tensor) -> Prompts:
        """The prompts of some objects."""
        return self._each(lambda part: part[rows])

    def to(self, device: torch.device | str) -> Prompts:
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Prompts:
        parts: dict[str, Any] = {
            f.name: None if (v := getattr(self, f.name)) is None else change(v) for f in fields(self)
        }
        return replace(self, **parts)

    def scaled(self, across: float, down: float) -> Prompts:
        """In the frame of pictures resized by these factors. As in SAM, without a half-pixel shift."""
        factor = torch.tensor([across, down], dtype=torch.float32, device=self.picture.device)
        return replace(
            self,
            boxes_px=None if self.boxes_px is None else self.boxes_px * factor.repeat(2),
            points_px=None if self.points_px is None else self.points_px * factor,
        )


def box_of(mask: np.ndarray) -> np.ndarray | None:
    """(4,) float32 x0, y0, x1, y1 of a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)


def boxes_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (M,) of a label map (H, W) other than 0, and their boxes (M, 4) float32, in one pass."""
    found = ndimage.find_objects(labels)
    values = np.array([v for v, where in enumerate(found, 1) if where is not None], np.int64)
    boxes = [(w[1].start, w[0].start, w[1].stop - 1, w[0].stop - 1) for w in found if w is not None]
    return values, np.array(boxes, np.float32).reshape(-1, 4)


def jittered(
    boxes_px: np.ndarray, size_px: tuple[int, int], rng: np.random.Generator, *, share: float = 0.0, px: float = 0.0
) -> np.ndarray:
    """Boxes (M, 4) whose sides each move by up to `px` pixels and up to `share` of the box's side, uniformly and
    independently, and stay inside the picture and in order. Both are upper limits where both are given."""
    width = np.stack([boxes_px[:, 2] - boxes_px[:, 0] + 1, boxes_px[:, 3] - boxes_px[:, 1] + 1], 1)
    reach = np.full(boxes_px.shape, np.inf)
    if share:
        reach = np.minimum(reach, share * np.tile(width, 2))
    if px:
        reach = np.minimum(reach, px)
    if not share and not px:
        return boxes_px.astype(np.float32)
    moved = boxes_px + rng.uniform(-1, 1, boxes_px.shape) * reach
    low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
    limit = np.array([size_px[1] - 1, size_px[0] - 1], np.float64)
    return np.concatenate([low.clip(0, limit), high.clip(0, limit)], 1).astype(np.float32)


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    """(x, y) of the pixel of a mask (H, W), not empty, that is furthest from its outside: the middle of its thickest
    part. The first in reading order where several are."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x), float(y)


def next_click(truth: np.ndarray, mask: np.ndarray) -> tuple[float, float, int] | None:
    """(x, y, label) of the usual next click: the centre of the largest false negative or false positive region.

    As in interactive segmentation since Xu et al. 2016: regions are connected by edges, their centre is the pixel
    furthest from the outside. None where the mask is right.
    """
    best, largest = None, 0
    for wrong, label in ((truth & ~mask, POSITIVE), (mask & ~truth, NEGATIVE)):
        regions, count = ndimage.label(wrong)
        if not count:
            continue
        sizes = np.bincount(regions.ravel())[1:]
        if sizes.max() > largest:
            largest = int(sizes.max())
            best = (*centre_of(regions == 1 + int(sizes.argmax())), label)
    return best


def inside_point(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """(x, y) of a pixel of a mask (H, W), sampled uniformly."""
    rows, columns = np.nonzero(mask)
    chosen = int(rng.integers(len(rows)))
    return float(columns[chosen]), float(rows[chosen])
