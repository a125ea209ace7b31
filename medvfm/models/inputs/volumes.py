"""From a case to the slices of a segmentation model, in loader workers: read, window, orient, resample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core import geometry
from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models.inputs.slice_stacks import intensity_rule

VERSION = 1  # to be raised when the same settings give other pixels, so that caches start afresh


@dataclass(frozen=True)
class VolumePreparer:
    """Reads the images of a case as one volume of slices.

    Arrays: `pixels` (C, S, H, W) float16 in [0, 1], slices as a radiologist sees them, S 1 for 2D, one channel a role
    and gray channel in the order of `roles`; `place`, shape and affine of the image that they came from.

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

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        """`pixels` and `place` of images that have been read."""
        first = images[0]
        place = np.array([*first.shape_vox, first.has_spacing, *first.affine.ravel()], np.float64)
        grid = self.grid({"place": place})
        rule = intensity_rule(self.prepare, self.windows)
        channels = [channel for image in images for channel in _channels(image, grid, rule)]
        return {"pixels": np.stack(channels), "place": place}

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid:
        """How the slices lie in the image that `place` describes."""
        place = arrays["place"]
        i, j, k = (int(n) for n in place[:3])
        axis = self.prepare.slices.axis or "native"
        affine = np.array(place[4:]).reshape(4, 4)
        return SliceGrid.of((i, j, k), affine, bool(place[3]), axis, self.prepare.spacing)


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
