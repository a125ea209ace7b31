"""The image record: voxels, where they lie in the patient, and what their values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage

UNITS = ("HU", "SUV", "Bq/ml", "Gy", "label", "RGB", "arbitrary")
_NO_HEADER: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, eq=False, repr=False)
class Image:
    """Voxels in the file's own axes, with the geometry that the file states.

    voxels      (i, j, k), or (i, j, k, channel) for colour; 2D images have k = 1. i counts columns (to the right in
                the stored picture), j rows (downwards), k slices, frames or pages.
    affine      (4, 4) float64, voxel index (i, j, k, 1) to RAS+ millimetres.
    unit        one of UNITS: what a value of 1 means. `RGB` is uint8 colour, `label` whole numbers.
    has_spacing False for a 2D file that states no physical size: then `affine` counts pixels and spacing_mm is None.
    repairs     what the reader mended or assumed, in words, for the record.
    header      facts of the file that hold no patient data (modality, window_hu, photometric, ...).
    """

    voxels: np.ndarray
    affine: np.ndarray
    unit: str = "arbitrary"
    has_spacing: bool = True
    repairs: tuple[str, ...] = ()
    header: Mapping[str, object] = field(default_factory=lambda: _NO_HEADER)

    def __post_init__(self) -> None:
        if self.voxels.ndim not in (3, 4) or 0 in self.voxels.shape:
            raise UnreadableImage(f"voxels of shape {self.voxels.shape}; expected (i, j, k) or (i, j, k, channel)")
        if self.unit not in UNITS:
            raise UnreadableImage(f"unit {self.unit!r}; expected one of {', '.join(UNITS)}")
        object.__setattr__(self, "affine", geometry.checked_affine(self.affine))

    def __repr__(self) -> str:
        """Size, unit and place in a line: no voxel, and nothing of the header that could name a patient."""
        size = " x ".join(map(str, self.shape_vox))
        channels = f", {self.voxels.shape[3]} channels" if self.voxels.ndim == 4 and self.unit != "RGB" else ""
        spacing = self.spacing_mm
        placed = "no spacing" if spacing is None else f"{' x '.join(f'{s:g}' for s in spacing)} mm, {self.orientation}"
        kind = " ".join(str(self.header[key]) for key in ("format", "modality") if key in self.header)
        parts = (f"{size} voxels{channels}", str(self.voxels.dtype), self.unit, placed, kind)
        return f"Image({', '.join(filter(None, parts))})"

    @property
    def shape_vox(self) -> tuple[int, int, int]:
        """Size of the grid (i, j, k), channels not counted."""
        return self.voxels.shape[:3]

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Edge lengths of a voxel along its own axes; None where the file states none."""
        return geometry.spacing_mm(self.affine) if self.has_spacing else None

    @property
    def orientation(self) -> str:
        """Where each voxel axis points, as `RAS` or `LPS`: the nearest patient axis."""
        return geometry.orientation(self.affine)

    @property
    def is_volume(self) -> bool:
        """True for more than one slice."""
        return self.shape_vox[2] > 1
