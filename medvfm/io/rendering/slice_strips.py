"""All slices of a volume as two sheets of tiles, for a viewer in a page: the picture, and truth beside prediction."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as pillow

from medvfm.core import geometry
from medvfm.core.image import Image
from medvfm.io.rendering import windowing

LONGEST_PX = 192  # of a tile: larger slices are reduced to it
MOST_SLICES = 64  # of more, so many spread over the volume
THICKER = 1.5  # times the others, for an axis to be that of the slices
QUALITY = 62  # of the picture's WebP
ENDS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # at the left, right, upper and lower edge


@dataclass(frozen=True)
class SliceStrips:
    """Two WebP files of the same tiles, `columns` in a row, in the order of the slices.

    picture    grey
    labels     lossless; red is the label of the truth, green that of the prediction, 0 for none
    size_px    (width, height) of a tile, whose pixels are square
    slices     places (from 1) of the tiles' slices in the volume, of `total`
    first      the tile to begin with
    """

    picture: bytes
    labels: bytes
    columns: int
    size_px: tuple[int, int]
    mm_per_px: float
    plane: str
    slices: tuple[int, ...]
    total: int
    first: int

    def facts(self) -> dict[str, object]:
        """Everything but the files, as plain data."""
        return {
            "columns": self.columns,
            "size_px": list(self.size_px),
            "mm_per_px": round(self.mm_per_px, 5),
            "plane": self.plane,
            "ends": ENDS[self.plane],
            "slices": list(self.slices),
            "total": self.total,
            "first": self.first,
        }


def strips(
    image: Image,
    truth: np.ndarray,
    prediction: np.ndarray,
    centre: Sequence[int] | None = None,
    *,
    intensity: windowing.Rule = "auto",
) -> SliceStrips | None:
    """The volume as a radiologist sees it, cut across its thickest slices, or axially; None for what is no volume.

    truth, prediction  (i, j, k) label maps on the grid of the image, or (i, j, k, T) booleans, of which the last that
                       holds a voxel is shown there
    centre             the voxel whose slice is shown first; without it the middle one
    """
    if not (image.is_volume and image.has_spacing) or image.voxels.ndim != 3:
        return None
    plane = _plane(image.affine)
    axes = windowing.PICTURE_AXES[plane]
    view, affine = geometry.reoriented(image.voxels, image.affine, axes)
    at = np.rint(np.linalg.inv(affine) @ image.affine @ [*(centre or np.array(image.shape_vox) // 2), 1.0]).astype(int)
    chosen = _chosen(view.shape[2], int(at[2]))
    columns_mm, rows_mm, _ = geometry.spacing_mm(affine)
    width_mm, height_mm = view.shape[0] * columns_mm, view.shape[1] * rows_mm
    mm_per_px = max(width_mm, height_mm) / min(LONGEST_PX, max(width_mm / columns_mm, height_mm / rows_mm))
    size = (max(1, round(width_mm / mm_per_px)), max(1, round(height_mm / mm_per_px)))
    low, high = windowing.intensity_range(image, intensity)

    shown = windowing.window(view[:, :, chosen], low, high)
    grey = _sheet([_tile(shown[:, :, n], size, pillow.Resampling.BOX, 255) for n in range(len(chosen))])
    both = [geometry.reoriented(_flat(mask), image.affine, axes)[0][:, :, chosen] for mask in (truth, prediction)]
    red, green = (
        _sheet([_tile(m[:, :, n], size, pillow.Resampling.NEAREST, 1) for n in range(len(chosen))]) for m in both
    )
    labels = np.stack([red, green, np.zeros_like(red)], axis=2)
    return SliceStrips(
        _webp(pillow.fromarray(grey), quality=QUALITY),
        _webp(pillow.fromarray(labels), lossless=True, quality=80),
        _columns(len(chosen)),
        size,
        mm_per_px,
        plane,
        tuple(k + 1 for k in chosen),
        view.shape[2],
        chosen.index(min(max(int(at[2]), 0), view.shape[2] - 1)),
    )


def _plane(affine: np.ndarray) -> str:
    """Across the axis with the thickest slices; axial where no axis stands out."""
    spacing = geometry.spacing_mm(affine)
    thickest = int(np.argmax(spacing))
    if spacing[thickest] < THICKER * sorted(spacing)[1]:
        return "axial"
    return ("sagittal", "coronal", "axial")[geometry.axis_directions(affine)[thickest][0]]


def _chosen(count: int, first: int) -> list[int]:
    """Every slice, or MOST_SLICES of them, the first one to be shown among them."""
    if count <= MOST_SLICES:
        return list(range(count))
    spread = np.linspace(0, count - 1, MOST_SLICES).round().astype(int).tolist()
    nearest = min(range(MOST_SLICES), key=lambda n: abs(spread[n] - first))
    spread[nearest] = min(max(first, 0), count - 1)
    return spread


def _flat(mask: np.ndarray) -> np.ndarray:
    """(i, j, k) labels up to 255."""
    if mask.ndim == 4:
        numbered = mask * np.arange(1, mask.shape[3] + 1, dtype=np.uint8)
        return numbered.max(axis=3).astype(np.uint8)
    return np.minimum(mask, 255).astype(np.uint8)


def _tile(pixels: np.ndarray, size: tuple[int, int], resampling: pillow.Resampling, scale: int) -> np.ndarray:
    """(height, width) uint8 of one slice (columns, rows)."""
    levels = np.ascontiguousarray((pixels.swapaxes(0, 1) * scale).round().astype(np.uint8))
    return np.asarray(pillow.fromarray(levels).resize(size, resampling))


def _columns(count: int) -> int:
    return int(np.ceil(np.sqrt(count)))


def _sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles row by row, black where there are none left."""
    columns = _columns(len(tiles))
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    rows = [np.concatenate(filled[r : r + columns], axis=1) for r in range(0, len(filled), columns)]
    return np.concatenate(rows, axis=0)


def _webp(picture: pillow.Image, **how: object) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, format="WEBP", method=4, **how)
    return out.getvalue()
