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

VERSION = 1  # to be raised when the same settings give other voxels, so that caches start afresh


@dataclass(frozen=True)
class GridVolumePreparer:
    """A case as one gray volume (1, S, H, W) float32 in [0, 1]: `pixels`.

    Axial slices from the feet up, rows to the back, columns to the left, at `spacing_mm` (between slices, rows,
    columns). The middle of the image lies in the middle of the grid of `size_vox` (S, H, W): what lies beyond is cut
    off, and what is lacking is 0. A case without images, which asks for one to be made, has no arrays.
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
        if not case.images:
            return ()
        found = case.images.get(self.role, ())
        if len(found) != 1:
            raise UnreadableImage(f"{case.case_id} has {len(found)} images in the role {self.role!r}, not one volume")
        return found

    def images(self, case: Case) -> list[Image]:
        return [
            read_image(path, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read)
            for path in self.files(case)
        ]

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        return {"pixels": self.of_image(images[0])} if images else {}

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """None: a volume that is made needs no way back."""
        return None

    def of_image(self, image: Image) -> np.ndarray:
        """(1, S, H, W) of an image that has been read; several channels become one by their mean."""
        if image.shape_vox[2] == 1 or not image.has_spacing:
            raise UnreadableImage(
                "a volume whose file states spacing and orientation is needed, and this is a picture",
                remedy="give prepare.size two numbers to make pictures",
            )
        low, high = windowing.intensity_range(image, intensity_rule(self.prepare, self.windows))
        grid = SliceGrid.of(image.shape_vox, image.affine, True, "axial", self.spacing_mm)
        volume = grid.to_model(image.voxels, linear=True)
        if volume.ndim == 4:
            volume = volume.mean(0)
        return centred(windowing.window(volume, low, high).astype(np.float32), self.size_vox)[None]


def centred(volume: np.ndarray, size_vox: tuple[int, ...]) -> np.ndarray:
    """The middle of a volume in the middle of another size: cut where it is larger, 0 where it is smaller."""
    found = np.zeros(size_vox, volume.dtype)
    into, out_of = [], []
    for have, want in zip(volume.shape, size_vox, strict=True):
        kept = min(have, want)
        first, begin = (want - kept) // 2, (have - kept) // 2
        into.append(slice(first, first + kept))
        out_of.append(slice(begin, begin + kept))
    found[tuple(into)] = volume[tuple(out_of)]
    return found
