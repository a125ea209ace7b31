"""From a case to the volume that a 3D encoder takes, in loader workers: read, orient, resample, crop, scale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.core.slice_grid import SliceGrid
from medvfm.io.read import read_image
from medvfm.io.rendering import windowing
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.models.inputs.volume_contract import VolumeContract, body_box

VERSION = 1  # to be raised when the same settings give other voxels, so that caches start afresh
ORIENTATION = "SPL"  # of the axial slices of SliceGrid: slices to the head, rows to the back, columns to the left


@dataclass(frozen=True)
class WholeVolumePreparer:
    """A case as one volume (S, 1, H, W) float16 in [0, 1], axial slices from the feet up, as its contract says.

    `prepare.spacing` replaces the contract's spacing, and `prepare.windows` its range of values.
    """

    contract: VolumeContract
    prepare: Prepare
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    read: Mapping[Any, Any] = field(default_factory=dict)
    role: str = "image"
    limit_gib: float = 4.0

    def key(self) -> str:
        """Everything that the voxels depend on besides the file."""
        shape = {k: v for k, v in self.contract.as_record().items() if k not in ("origin", "tile_vox")}
        window = None if self.prepare.windows is None else intensity_rule(self.prepare, self.windows)
        parts = [VERSION, shape, self.prepare.spacing, window, self.prepare.invalid, dict(self.read), self.role]
        return f"whole-{hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        return volume_file(case, self.role)

    def images(self, case: Case) -> list[Image]:
        return [
            read_image(path, limit_gib=self.limit_gib, nan=self.prepare.invalid, **self.read)
            for path in self.files(case)
        ]

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        return {"pixels": self.of_image(images[0])}

    def grid(self, arrays: Mapping[str, np.ndarray]) -> SliceGrid | None:
        """None: features need no way back to the image."""
        return None

    def of_image(self, image: Image) -> np.ndarray:
        """(S, 1, H, W) of an image that has been read."""
        if image.voxels.ndim != 3 or image.shape_vox[2] == 1 or not image.has_spacing:
            raise UnreadableImage(
                "a 3D encoder takes gray volumes whose file states spacing and orientation",
                remedy="take the adapter dinov2 for pictures and single slices",
            )
        low, high = self._range(image)
        spacing = self.prepare.spacing or self.contract.spacing_mm
        grid = SliceGrid.of(image.shape_vox, image.affine, True, "axial", tuple(spacing))
        volume = grid.to_model(image.voxels, linear=True)
        above = self.contract.body_above if image.unit == self.contract.unit else None
        volume = volume[body_box(volume, above)]
        return windowing.window(volume, low, high).astype(np.float16)[:, None]

    def _range(self, image: Image) -> tuple[float, float]:
        if self.prepare.windows is not None:
            return windowing.intensity_range(image, intensity_rule(self.prepare, self.windows))
        if image.unit != self.contract.unit:
            raise UnreadableImage(
                f"the encoder takes values in {self.contract.unit}, and these are in {image.unit}",
                remedy="say unit: HU in the data card if it is a CT; else set prepare.windows, such as {percentiles: "
                "[0.5, 99.5]}",
            )
        return self.contract.range


def volume_file(case: Case, role: str) -> tuple[Path, ...]:
    """The one file or series folder of a case in a role."""
    found = case.images.get(role, ())
    if len(found) != 1:
        raise UnreadableImage(f"{case.case_id} has {len(found)} images in the role {role!r}, not one volume")
    return found
