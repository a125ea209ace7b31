"""Siemens' mosaics: the slices of a volume as tiles of one picture, put back where they lie in the patient.

The position of a mosaic is that of the corner which a single slice of the mosaic's size would have around the same
centre, so that the first slice lies half the difference in size further on. Its slices follow the normal that the
private header states, which is not always that of rows x columns. Without that header their order is not known, and the
mosaic is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import geometry, siemens_csa
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.header_facts import plane_of
from medvfm.io.dicom.pixel_format import PixelFormat

_ALONG = 0.99  # of the cosine between the stated normal and that of rows x columns
_REMEDY = "export it from the scanner as enhanced DICOM or as single slices, or keep the private header (0029,1010)"


@dataclass(frozen=True)
class Mosaic:
    """The tiles of a mosaic, row by row: `form` is the format of one volume of them, `planes` their places in order."""

    form: PixelFormat
    planes: tuple[Plane, ...]
    across: int

    def frames(self, stored: np.ndarray) -> np.ndarray:
        """(slice, row, column) of the mosaic (1, row, column)."""
        n, rows, columns = self.across, self.form.rows, self.form.columns
        tiles = stored.reshape(n, rows, n, columns).swapaxes(1, 2).reshape(n * n, rows, columns)
        return np.ascontiguousarray(tiles[: self.form.frames])


def mosaic_of(header: Header, form: PixelFormat) -> Mosaic | None:
    """The mosaic that a file is; None for any other, an enhanced file that only says MOSAIC among them.

    A file whose ImageType lost the word is one where its private header counts slices, and the tiles are as large as
    the scanner's matrix.
    """
    if form.frames != 1 or form.samples != 1 or "PerFrameFunctionalGroupsSequence" in header:
        return None
    matrix = sorted(int(n) for n in header.numbers("AcquisitionMatrix") if n > 0)
    named = "MOSAIC" in (word.upper() for word in header.texts("ImageType"))
    if matrix == sorted((form.rows, form.columns)) or not (named or len(matrix) == 2):
        return None  # one slice, cut out of a mosaic by another program; or nothing that tells a mosaic
    private = siemens_csa.values(header.private_raw("SIEMENS CSA HEADER", 0x0029, 0x10))
    count = _count(header, private)
    if count == 1 or not (named or (count is not None and _tiles(form, count) == matrix)):
        return None
    if count is None:
        raise _no("the number of its slices is not stated, (0019,100A) or (0029,1010)", header)
    across = math.ceil(math.sqrt(count))
    if form.rows % across or form.columns % across:
        raise _no(f"{form.columns} x {form.rows} pixels are no {across} x {across} tiles of {count} slices", header)
    tile = replace(form, rows=form.rows // across, columns=form.columns // across, frames=count)
    return Mosaic(tile, tuple(_planes(header, form, tile, private)), across)


def _no(why: str, header: Header) -> UnreadableImage:
    return UnreadableImage(f"a Siemens mosaic whose slices cannot be placed: {why}", where=header.path, remedy=_REMEDY)


def _count(header: Header, private: dict[str, tuple[str, ...]]) -> int | None:
    raw = header.private_raw("SIEMENS MR HEADER", 0x0019, 0x0A)
    if len(raw) == 2:
        return int.from_bytes(raw, "big" if header.big else "little") or None
    stated = siemens_csa.numbers(private, "NumberOfImagesInMosaic", 1)
    return int(stated[0]) if stated and stated[0] >= 1 else None


def _tiles(form: PixelFormat, count: int) -> list[float]:
    """The two sides of a tile, the smaller first."""
    across = math.ceil(math.sqrt(count))
    return sorted((form.rows / across, form.columns / across))


def _planes(header: Header, form: PixelFormat, tile: PixelFormat, private: dict[str, tuple[str, ...]]) -> list[Plane]:
    whole = plane_of(header, form)
    if not whole.is_placed:
        raise _no("it states no position, orientation or pixel spacing", header)
    stated = siemens_csa.numbers(private, "SliceNormalVector", 3)
    if stated is None:
        raise _no("the direction in which its slices follow each other is not stated, (0029,1010)", header)
    gap = geometry.numbers_or_none(header, "SpacingBetweenSlices", 1)
    if gap is None or gap[0] <= 0:
        raise _no("the distance between its slices is not stated, SpacingBetweenSlices", header)
    across = geometry.normal(whole)
    along = float(across @ np.array(stated)) / max(float(np.linalg.norm(stated)), 1e-12)
    if abs(along) < _ALONG:
        raise _no("its private header states another direction of slices than its orientation", header)
    steps = geometry.in_plane(whole, header.path)
    half = np.array([form.columns - tile.columns, form.rows - tile.rows]) / 2
    first = np.array(whole.position_mm) + steps @ half
    step = math.copysign(gap[0], along) * across
    return [
        replace(whole, number=n, size=(tile.rows, tile.columns), position_mm=tuple((first + n * step).tolist()))
        for n in range(tile.frames)
    ]
