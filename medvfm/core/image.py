"""The image record: voxels, where they lie in the patient, and what their values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage

UNITS = ("HU", "SUV", "Bq/ml", "Gy", "label", "RGB", "arbitrary")
# Of a file or an array that states no place: pixels are counted as DICOM's axes run, to the left and to the back.
PIXEL_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
_PICTURE = "give (rows, columns) or (rows, columns, 3); a volume (i, j, k) needs affine or spacing_mm"
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

    @classmethod
    def from_array(
        cls,
        array: np.ndarray,
        *,
        affine: np.ndarray | None = None,
        spacing_mm: tuple[float, float, float] | None = None,
        unit: str | None = None,
    ) -> Image:
        """An image of numbers that a script has.

        array       a picture (rows, columns), (rows, columns, 1) or (rows, columns, 3): colour as uint8, or as
                    fractions from 0 to 1; with `affine` or `spacing_mm` a volume (i, j, k) instead
        affine      (4, 4) of a volume: voxel index to RAS+ millimetres
        spacing_mm  of a volume whose axes point right, anterior and superior (RAS)
        unit        one of UNITS; None: RGB for colour, else arbitrary. CT values need "HU", for named windows to work
        """
        array = np.asarray(array)
        if affine is not None and spacing_mm is not None:
            raise UnreadableImage("affine and spacing_mm both say where voxels lie", remedy="give one of them")
        if affine is None and spacing_mm is None:
            return _picture(array, unit)
        if array.ndim != 3:
            raise UnreadableImage(f"an array of shape {array.shape} is no volume", remedy="a volume is (i, j, k)")
        _check_numbers(array)
        placed = np.diag([*spacing_mm, 1.0]) if spacing_mm is not None else np.asarray(affine)
        return cls(array, placed, unit or "arbitrary", header={"format": "array"})

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


def _picture(pixels: np.ndarray, unit: str | None) -> Image:
    if pixels.dtype.kind in "OSU":
        raise UnreadableImage(f"an array of {pixels.dtype} holds no numbers", remedy=_PICTURE)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise UnreadableImage(f"an array of shape {pixels.shape} is no picture", remedy=_PICTURE)
    _check_numbers(pixels)
    if pixels.ndim == 3 and pixels.dtype != np.uint8:
        if pixels.dtype.kind != "f" or pixels.min() < 0 or pixels.max() > 1:
            what = f"colour of {pixels.dtype} from {pixels.min():g} to {pixels.max():g}"
            raise UnreadableImage(what, remedy="give uint8 from 0 to 255, or fractions from 0 to 1")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    header: dict[str, object] = {"format": "array", "photometric": "RGB" if pixels.ndim == 3 else "MONOCHROME2"}
    if pixels.dtype == np.uint8:
        header["value_range"] = (0, 255)
    voxels = pixels.T[:, :, None] if pixels.ndim == 2 else pixels.transpose(1, 0, 2)[:, :, None, :]
    own_unit = unit or ("RGB" if pixels.ndim == 3 else "arbitrary")
    return Image(voxels, PIXEL_AFFINE, unit=own_unit, has_spacing=False, header=header)


def _check_numbers(array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise UnreadableImage(f"an array of {array.dtype} is no image", remedy=_PICTURE)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnreadableImage("an array with NaN or infinity", remedy="replace them first")
