"""From a case to the slices of a segmentation model, in loader workers: read, window, orient, resample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core import geometry
from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models.inputs.slice_stacks import intensity_rule

VERSION = 1  # to be raised when the same settings give other pixels, so that caches start afresh


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A case prepared for segmentation.

    pixels  (C, S, H, W) float16 in [0, 1], slices in radiological orientation; S is 1 for 2D. May be memory-mapped
    grid    how they lie in the image, and the way back
    truth   (S, H, W) whole numbers on the same grid, (T, S, H, W) for multi-label masks; None where it is not shown
    """

    case_id: str
    pixels: np.ndarray
    grid: SliceGrid
    truth: np.ndarray | None = None


@dataclass(frozen=True)
class VolumePreparer:
    """Reads the images of a case into `PreparedVolume.pixels`: one channel a role and gray channel, in the
    order of `roles`.

    roles  names of the case's images; None takes all of them, which must lie on one grid
    """

    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    roles: tuple[str, ...] | None = None
    limit_gib: float = 4.0

    def key(self) -> str:
        """Everything that the pixels depend on besides the files."""
        p = self.prepare
        parts = [
            VERSION,
            p.slices.axis,
            p.spacing,
            intensity_rule(p, self.windows),
            p.invalid,
            dict(self.read),
            self.roles,
        ]
        return f"volumes-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        """One file or series folder for each role."""
        found = []
        for role in self.roles or tuple(case.images):
            if role not in case.images:
                raise UnreadableImage(f"{case.case_id} has no image in the role {role!r}")
            if len(case.images[role]) != 1:
                raise UnreadableImage(
                    f"{case.case_id} has {len(case.images[role])} images in the role {role!r}, not one"
                )
            found.append(case.images[role][0])
        return tuple(found)

    def images(self, case: Case) -> list[Image]:
        """The images of a case, one a role, all on the grid of the first."""
        found = [
            read_image(p, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read) for p in self.files(case)
        ]
        for path, image in zip(self.files(case)[1:], found[1:], strict=True):
            if image.shape_vox != found[0].shape_vox or not _together(image, found[0]):
                raise UnreadableImage("does not lie on the grid of the case's first image", where=path)
        return found

    def grid(self, image: Image) -> SliceGrid:
        axis = self.prepare.slices.axis or "native"
        return SliceGrid.of(image.shape_vox, image.affine, image.has_spacing, axis, self.prepare.spacing)

    def __call__(self, case: Case) -> np.ndarray:
        return self.of_images(self.images(case), case.case_id).pixels

    def of_images(self, images: list[Image], case_id: str) -> PreparedVolume:
        """The same for images that have been read."""
        grid = self.grid(images[0])
        rule = intensity_rule(self.prepare, self.windows)
        channels = [channel for image in images for channel in _channels(image, grid, rule)]
        return PreparedVolume(case_id, np.stack(channels), grid)


def _channels(image: Image, grid: SliceGrid, rule: Any) -> list[np.ndarray]:
    """(S, H, W) float16 in [0, 1] of each channel; resampled before the window, so that nothing is clipped twice."""
    if image.voxels.ndim == 3 or image.unit == "RGB":
        window = windowing.intensity_range(image, rule)
        layers = (
            [image.voxels] if image.voxels.ndim == 3 else [image.voxels[..., c] for c in range(image.voxels.shape[3])]
        )
        ranges = [window] * len(layers)
    else:  # channels that are images of their own, each with its range
        layers = [image.voxels[..., c] for c in range(image.voxels.shape[3])]
        ones = [Image(v, image.affine, image.unit, image.has_spacing, header=image.header) for v in layers]
        ranges = [windowing.intensity_range(one, rule) for one in ones]
    return [
        windowing.window(grid.to_model(layer, linear=True), *window).astype(np.float16)
        for layer, window in zip(layers, ranges, strict=True)
    ]


def _together(image: Image, other: Image) -> bool:
    if not (image.has_spacing and other.has_spacing):
        return True
    apart_mm = geometry.greatest_distance_mm(image.affine, other.affine, image.shape_vox)
    return apart_mm < 0.1 * min(geometry.spacing_mm(other.affine))
