"""Whole-slide images: frames are tiles of one large picture (PS3.3, C.8.12.4.1 and C.7.6.17.3)."""

from __future__ import annotations

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat
from medvfm.io.formats import bounded_read

_WHITE = 255


def is_tiled(header: Header) -> bool:
    """Whether the frames are tiles."""
    return "TotalPixelMatrixRows" in header and "TotalPixelMatrixColumns" in header


def total_size(header: Header) -> tuple[int, int]:
    """Rows and columns of the whole picture."""
    rows, columns = header.integer("TotalPixelMatrixRows"), header.integer("TotalPixelMatrixColumns")
    if rows < 1 or columns < 1:
        raise UnreadableImage(f"a whole picture of {columns} x {rows}", where=header.path)
    return rows, columns


def tile_corners(header: Header, form: PixelFormat) -> list[tuple[int, int]]:
    """(row, column) of the first pixel of each frame in the whole picture, from 0 on."""
    if header.integer("TotalPixelMatrixFocalPlanes", 1) > 1 or header.integer("NumberOfOpticalPaths", 1) > 1:
        raise UnreadableImage("a slide of several focal planes or optical paths is not read", where=header.path)
    if header.text("DimensionOrganizationType") == "TILED_FULL":
        rows, columns = total_size(header)
        one = [(r, c) for r in range(0, rows, form.rows) for c in range(0, columns, form.columns)]
        if form.frames % len(one):
            what = f"{form.frames} tiles, and its whole picture takes {len(one)}"
            raise UnreadableImage(what, where=header.path)
        return one * (form.frames // len(one))
    found = []
    for frame in header.items("PerFrameFunctionalGroupsSequence"):
        place = frame.item("PlanePositionSlideSequence")
        if place is None:
            raise UnreadableImage("a tile without its place in the whole picture", where=header.path)
        row = place.integer("RowPositionInTotalImagePixelMatrix") - 1
        found.append((row, place.integer("ColumnPositionInTotalImagePixelMatrix") - 1))
    if len(found) != form.frames or any(min(corner) < 0 for corner in found):
        raise UnreadableImage("its tiles do not lie in the whole picture", where=header.path)
    return found


def assembled(
    header: Header, form: PixelFormat, stored: np.ndarray, repairs: list[str], limit_gib: float
) -> np.ndarray:
    """Tiles (frame, row, column[, 3]) as one picture (1, row, column[, 3]); areas without a tile are white."""
    rows, columns = total_size(header)
    corners = tile_corners(header, form)
    if len(set(corners)) < len(corners):
        raise UnreadableImage("several tiles at one place of the whole picture", where=header.path)
    bounded_read.refuse_larger(
        rows * columns * form.samples * form.dtype.itemsize + stored.nbytes, limit_gib, header.path
    )
    fill = _WHITE if form.samples == 3 and form.dtype == np.uint8 else 0
    whole = np.full((1, rows, columns, *stored.shape[3:]), fill, stored.dtype)
    for tile, (row, column) in zip(stored, corners, strict=True):
        place = whole[0, row : row + form.rows, column : column + form.columns]
        place[:] = tile[: place.shape[0], : place.shape[1]]
    needed = -(-rows // form.rows) * -(-columns // form.columns)
    if len(corners) < needed:
        repairs.append(f"{needed - len(corners)} of {needed} tiles are not in the file, and were filled with {fill}")
    return whole
