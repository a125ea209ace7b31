"""From a case to the one volume that a generator of volumes learns from, in loader workers: all on one grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.models.inputs.whole_volumes import volume_file

SAME = 1e-3  # share of a voxel by which spacings may differ and count as the same
VERSION = 2  # to be raised when the same settings give other voxels, so that caches start afresh


@dataclass(frozen=True)
class GridVolumePreparer:
    """A case as one gray volume (1, S, H, W) float32 in [0, 1]: `pixels`.

    Axial slices from the feet up, rows to the back, columns to the left, at `spacing_mm` (between slices, rows,
    columns). Axes of the file are exchanged and turned round, not rotated: of an oblique scan each direction is the
    nearest of these. The middle of the image lies in the middle of the grid of `size_vox` (S, H, W). Where the image
    has that spacing already, voxels are copied, and the middle may be off by half a voxel. What lies beyond is cut off,
    and what is lacking is 0. A case without images, which asks for one to be made, has no arrays.
    """

    size_vox: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    role: str = "image"
    limit_gib: float = 4.0
    spatial: ClassVar[str] = ""  # nothing beside the volume: see PicturePreparer

    def key(self) -> str:
        """Everything that the voxels depend on besides the file."""
        rule = intensity_rule(self.prepare, self.windows)
        parts = [VERSION, self.size_vox, self.spacing_mm, rule, self.prepare.invalid, dict(self.read), self.role]
        return f"grid-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        return volume_file(case, self.role) if case.images else ()

    def images(self, case: Case) -> list[Image]:
        return [
            read_image(path, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read)
            for path in self.files(case)
        ]

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        if not images:
            return {}
        try:
            return {"pixels": self.of_image(images[0])}
        except UnreadableImage as error:
            raise UnreadableImage(error.what, where=self.files(case)[0], remedy=error.remedy) from error

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """None: a volume that is made needs no way back."""
        return None

    def of_image(self, image: Image) -> np.ndarray:
        """(1, S, H, W) of an image that has been read; several channels become one by their mean."""
        if min(image.shape_vox) == 1 or not image.has_spacing:
            size = " × ".join(map(str, image.shape_vox))
            raise UnreadableImage(
                f"volumes are made here, whose files state spacing and orientation; this has {size} voxels"
                + ("" if image.has_spacing else " and no spacing"),
                remedy="give volumes; a recipe makes pictures where prepare.size has two numbers",
            )
        low, high = windowing.intensity_range(image, intensity_rule(self.prepare, self.windows))
        grid = SliceGrid.of(image.shape_vox, image.affine, True, "axial")
        volume = grid.to_model(image.voxels, linear=True)
        if volume.ndim == 4:
            volume = volume.mean(0)
        have = grid.spacing_mm
        assert have is not None
        return on_grid(windowing.window(volume, low, high).astype(np.float32), have, self.size_vox, self.spacing_mm)[
            None
        ]


def on_grid(
    volume: np.ndarray, have_mm: Sequence[float], size_vox: Sequence[int], spacing_mm: Sequence[float]
) -> np.ndarray:
    """A volume (S, H, W) of spacing `have_mm` on a grid of another size and spacing with the same middle, float32.

    Linear in each direction, widened to a triangle over the new voxel where it is the larger (no aliasing). Voxels
    whose middle lies outside the volume are 0.
    """
    for axis, (mm, size, wanted_mm) in enumerate(zip(have_mm, size_vox, spacing_mm, strict=True)):
        weights = _weights(volume.shape[axis], size, wanted_mm / mm)
        volume = np.moveaxis(np.moveaxis(volume, axis, -1) @ weights.T, -1, axis)
    return np.ascontiguousarray(volume)


def _weights(have: int, size: int, step: float) -> np.ndarray:
    """(size, have) float32: rows sum to 1, or are 0 outside. step: of the new voxels, in old ones."""
    if abs(step - 1) < SAME:  # whole voxels are moved, none is changed
        step, shift = 1.0, float((have - size) // 2)
    else:
        shift = (have - 1) / 2 - (size - 1) / 2 * step
    centres = shift + np.arange(size) * step
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None].clip(0, have - 1) - np.arange(have)) / max(1.0, step))
    inside = (centres > -0.5 - SAME) & (centres < have - 0.5 + SAME)
    return (inside[:, None] * weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
