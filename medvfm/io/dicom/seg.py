"""DICOM segmentations as label maps, on the grid of the image they refer to or on their own (PS3.3, C.8.20).

A frame belongs to a segment and to a place; frames that are empty are often left out. A voxel's value is the number of
its segment. Segments that overlap cannot share one label map: they are refused unless chosen one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import geometry, header_facts, multiframe, projection, rescale, whole_slide
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom.geometry import Plane
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.pixel_format import PixelFormat, pixel_format
from medvfm.io.dicom.pixels import read_stored
from medvfm.io.formats import bounded_read

_APART_VOX = 0.1  # by which a corner may miss a voxel's centre: what rounding in headers explains
_PLACE_MM = 1e-2


@dataclass(frozen=True)
class _Grid:
    shape_vox: tuple[int, int, int]
    affine: np.ndarray
    has_spacing: bool


def read_segmentation(
    path: str | Path,
    reference: Image | None = None,
    *,
    segments: Sequence[int | str] | None = None,
    threshold: float = 0.5,
    limit_gib: float = 4.0,
) -> Image:
    """A label map (i, j, k) whose values are segment numbers; `header["segments"]` has their labels.

    reference  the image that was segmented: the label map gets its grid, and a segmentation that does not fit that
               grid is refused. Without it, the grid of the segmentation's own frames, empty ones between them included
    segments   numbers or labels of those wanted; without it all, which must not overlap
    threshold  of a fractional segmentation: the fraction from which on a voxel belongs to it
    """
    path = Path(path)
    with dicom_header.opened(path, limit_gib=limit_gib) as header:
        if header.text("Modality") != "SEG":
            raise UnreadableImage("it is no DICOM segmentation", where=path)
        form = pixel_format(header, limit_gib)
        names = _names(header)
        wanted = _wanted(names, segments, path)
        stored, repairs = read_stored(header, form)
        layers, numbers = _layers(header, form, stored, threshold, repairs)
        _refuse_unnamed(header, form, layers, numbers, names)
        facts = _facts(header, form, names)
        if whole_slide.is_tiled(header):
            return _tiled(header, form, layers, numbers, wanted, repairs, facts, limit_gib, reference)
        planes = multiframe.planes(header, form) or [header_facts.plane_of(header, form)] * form.frames
        grid = _grid(header, form, planes, reference, repairs)
        bounded_read.refuse_larger(int(np.prod(grid.shape_vox)) * 2 + stored.nbytes, limit_gib, path)
        labels = np.zeros(grid.shape_vox, np.uint8 if max(names, default=0) < 256 else np.uint16)
        for layer, plane, number in zip(layers, planes, numbers, strict=True):
            if number is None or number in wanted:
                values = _values(layer, number, wanted)
                _paint(_view(labels, grid, plane, values, path), values, names, path)
    return Image(labels, grid.affine, "label", grid.has_spacing, tuple(dict.fromkeys(repairs)), facts)


def _names(header: Header) -> dict[int, str]:
    found = {}
    for item in header.items("SegmentSequence"):
        found[item.integer("SegmentNumber", 0)] = item.label("SegmentLabel")
    return found


def _wanted(names: dict[int, str], segments: Sequence[int | str] | None, path: Path) -> set[int]:
    if segments is None:
        return set(names)
    found: set[int] = set()
    for one in segments:
        numbers = {n for n, label in names.items() if one in (n, label)}
        if not numbers:
            listed = ", ".join(f"{n} ({label})" for n, label in sorted(names.items()))
            raise UnreadableImage(f"no segment {one!r}", where=path, remedy=f"it holds {listed}")
        found |= numbers
    return found


def _layers(
    header: Header, form: PixelFormat, stored: np.ndarray, threshold: float, repairs: list[str]
) -> tuple[np.ndarray, list[int | None]]:
    """Frames as 0 and 1, or as labels where the file is a label map; and the segment of each, None for a label map."""
    kind = header.text("SegmentationType")
    if kind == "LABELMAP":
        return stored, [None] * form.frames
    if kind == "FRACTIONAL":
        most = header.integer("MaximumFractionalValue", 255)
        meaning = header.text("SegmentationFractionalType", "fraction").lower()
        if np.isin(stored, (0, most)).all():
            stored = (stored == most).astype(np.uint8)
        else:
            stored = (stored >= max(threshold * most, 1)).astype(np.uint8)
            repairs.append(f"fractional segmentation ({meaning}) cut at {threshold:g}")
    elif kind != "BINARY":
        raise UnreadableImage("a segmentation of unknown type", where=header.path)
    frames = header.items("PerFrameFunctionalGroupsSequence")
    shared = header.item("SharedFunctionalGroupsSequence")
    numbers: list[int | None] = []
    if not frames and whole_slide.is_tiled(header):
        order = sorted(_names(header))
        return stored, [order[n * len(order) // form.frames] for n in range(form.frames)]
    for frame in frames:
        item = frame.item("SegmentIdentificationSequence")
        item = item or (shared.item("SegmentIdentificationSequence") if shared is not None else None)
        if item is None:
            raise UnreadableImage("a frame that names no segment", where=header.path)
        numbers.append(item.integer("ReferencedSegmentNumber"))
    if len(numbers) != form.frames:
        what = f"{form.frames} frames, and {len(numbers)} descriptions of frames"
        raise UnreadableImage(what, where=header.path)
    return stored, numbers


def _refuse_unnamed(
    header: Header, form: PixelFormat, layers: np.ndarray, numbers: list[int | None], names: dict[int, str]
) -> None:
    """Segments that frames or voxels refer to and that the file does not describe: they would be lost."""
    used = {n for n in numbers if n is not None}
    if None in numbers:
        background = rescale.padding(header, form) or (0, 0)
        used |= set(np.unique(layers).tolist()) - {0, int(background[0])}
    if strange := sorted(used - set(names)):
        listed = ", ".join(map(str, strange[:8]))
        raise UnreadableImage(f"it holds segments that it does not describe: {listed}", where=header.path)


def _facts(header: Header, form: PixelFormat, names: dict[int, str]) -> dict[str, Any]:
    return header_facts.facts(header, form) | {"segments": names}


def _grid(header: Header, form: PixelFormat, planes: list[Plane], reference: Image | None, repairs: list[str]) -> _Grid:
    where = header.path
    if not all(p.is_placed for p in planes):
        if form.frames != len({p.number for p in planes} | {0}) and len(_names(header)) < form.frames:
            raise UnreadableImage("its frames state no position or orientation", where=where)
        flat, has_spacing, _ = projection.flat(header, form, repairs)
        shape = (form.columns, form.rows, 1)
        if reference is not None:
            if reference.shape_vox != shape:
                raise UnreadableImage("it has another size than its reference image", where=where)
            return _Grid(shape, reference.affine, reference.has_spacing)
        return _Grid(shape, flat, has_spacing)
    if reference is None:
        shape, affine = _planes_grid(planes, repairs, where)
        return _Grid(shape, affine, True)
    frames_of_reference = {header.text("FrameOfReferenceUID"), _frame_of_reference(reference)} - {""}
    if len(frames_of_reference) > 1:
        raise UnreadableImage("it lies in another frame of reference than the image", where=where)
    return _Grid(reference.shape_vox, reference.affine, reference.has_spacing)


def _frame_of_reference(image: Image) -> str:
    uids = image.header.get("uids")
    return str(uids.get("frame_of_reference", "")) if isinstance(uids, dict) else ""


def _view(labels: np.ndarray, grid: _Grid, plane: Plane, values: np.ndarray, path: Path) -> np.ndarray:
    if not plane.is_placed:
        return labels[:, :, 0]
    return _painted_plane(labels, grid.affine, plane, values, path)


def _values(layer: np.ndarray, number: int | None, wanted: set[int]) -> np.ndarray:
    """(column, row): the values to write, 0 where nothing is."""
    if number is None:
        return np.where(np.isin(layer, sorted(wanted)), layer, 0).T
    return (layer != 0).T * np.asarray(number, np.uint8 if number < 256 else np.uint16)


def _paint(place: np.ndarray, values: np.ndarray, names: dict[int, str], path: Path) -> None:
    there = values != 0
    clash = there & (place != 0) & (place != values)
    if clash.any():
        pair = {int(place[clash][0]), int(values[clash][0])}
        both = " and ".join(f"{n} ({names.get(n, '')})" for n in sorted(pair))
        remedy = "save segments that overlap as files of their own"
        raise UnreadableImage(f"its segments overlap: {both}", where=path, remedy=remedy)
    np.copyto(place, values, where=there, casting="same_kind")


def _tiled(
    header: Header,
    form: PixelFormat,
    layers: np.ndarray,
    numbers: list[int | None],
    wanted: set[int],
    repairs: list[str],
    facts: dict[str, Any],
    limit_gib: float,
    reference: Image | None,
) -> Image:
    """Tiles of a whole-slide segmentation as one picture (column, row, 1)."""
    rows, columns = whole_slide.total_size(header)
    bounded_read.refuse_larger(rows * columns * 2 + layers.nbytes, limit_gib, header.path)
    labels = np.zeros((columns, rows, 1), np.uint16 if max(wanted, default=0) > 255 else np.uint8)
    for layer, number, (row, column) in zip(layers, numbers, whole_slide.tile_corners(header, form), strict=True):
        if number is None or number in wanted:
            place = labels[column : column + form.columns, row : row + form.rows, 0]
            values = _values(layer, number, wanted)[: place.shape[0], : place.shape[1]]
            _paint(place, values, facts["segments"], header.path)
    affine, has_spacing, _ = projection.flat(header, form, repairs, one_picture=True)
    if reference is not None:
        if reference.shape_vox != labels.shape:
            raise UnreadableImage("it has another size than its reference image", where=header.path)
        affine, has_spacing = reference.affine, reference.has_spacing
    return Image(labels, affine, "label", has_spacing, tuple(dict.fromkeys(repairs)), facts)


def _planes_grid(planes: Sequence[Plane], repairs: list[str], where: Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (i, j, k) and affine of the smallest grid that holds all planes, several at one place allowed."""
    first = planes[0]
    along = np.array([np.dot(p.position_mm or (), geometry.normal(first)) for p in planes])
    order = np.argsort(along, kind="stable")
    fresh = np.concatenate([[True], np.diff(along[order]) > _PLACE_MM])
    chosen = [planes[n] for n in order[fresh]]
    rows, columns = first.size
    if len(chosen) == 1:
        return (columns, rows, 1), geometry.single_affine(first, repairs, where)
    gaps = np.diff(along[order][fresh])
    counts = np.rint(gaps / gaps.min()).astype(int)
    if np.abs(gaps / gaps.min() - counts).max() > _APART_VOX:
        raise UnreadableImage("its frames are unevenly spaced", where=where, remedy="read it on the grid of its image")
    if counts.max() > 1:
        repairs.append(f"{int(counts.sum()) - len(gaps)} empty slices between its frames put in")
    start, end = (np.array(p.position_mm) for p in (chosen[0], chosen[-1]))
    filled = [
        Plane(n, first.size, tuple((start + (end - start) * n / counts.sum()).tolist()), first.orientation,
              first.spacing_mm, first.thickness_mm)
        for n in range(int(counts.sum()) + 1)
    ]  # fmt: skip
    for plane in chosen:
        if not (geometry.same_orientation(plane, first) and geometry.same_spacing(plane, first)):
            raise UnreadableImage("its frames lie on several grids", where=where)
    affine, _, noted = geometry.stacked(filled, where)
    repairs += noted
    return (columns, rows, len(filled)), affine


def _painted_plane(labels: np.ndarray, affine: np.ndarray, plane: Plane, values: np.ndarray, where: Path) -> np.ndarray:
    """The view (column, row) of a volume (i, j, k) that a plane covers; refused where the plane is not on the grid.

    The axes may run in another order or direction than the plane's. A plane may reach beyond the volume only where
    `values` are 0 all over it.
    """
    columns, rows = values.shape
    plane2ras = geometry.single_affine(plane, [], where)
    plane2vox = np.linalg.inv(affine) @ plane2ras
    steps, origin = plane2vox[:3, :2], plane2vox[:3, 3]
    whole = np.rint(steps)
    ends = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]], float).T
    off = np.abs(steps @ ends - whole @ ends).max() + np.abs(origin - np.rint(origin)).max()
    if sorted(np.abs(whole).sum(axis=0)) != [1, 1] or np.abs(whole).sum(axis=1).max() > 1 or off > _APART_VOX:
        raise UnreadableImage(
            "it does not lie on the voxels of the image", where=where, remedy="resample it, or give its own image"
        )
    along = [int(np.argmax(np.abs(whole[:, n]))) for n in range(2)]
    across = 3 - sum(along)
    start = np.rint(origin).astype(int)
    index: list[slice | int] = [0, 0, 0]
    for axis, count in zip(along, (columns, rows), strict=True):
        sign = 1 if whole[axis].sum() > 0 else -1
        last = int(start[axis]) + sign * (count - 1)
        if min(int(start[axis]), last) < 0 or max(int(start[axis]), last) >= labels.shape[axis]:
            raise UnreadableImage("it reaches beyond the image", where=where)
        stop = last + sign
        index[axis] = slice(int(start[axis]), None if stop < 0 else stop, sign)
    if not 0 <= start[across] < labels.shape[across]:
        if not values.any():
            return np.zeros_like(values)
        raise UnreadableImage("it reaches beyond the image", where=where)
    index[across] = int(start[across])
    view = labels[tuple(index)]
    return view if along[0] < along[1] else view.T
