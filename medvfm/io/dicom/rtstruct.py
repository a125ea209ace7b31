"""Contours of an RTSTRUCT as masks and label maps on the grid of the image they were drawn on (PS3.3, C.8.8.6).

A voxel belongs to a structure if its centre lies inside the contours of its slice by the even-odd rule: a contour
within a contour is a hole, as are the channels of keyhole contours. A centre on an edge belongs to one side only.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.core.geometry import LPS_TO_RAS
from medvfm.core.image import Image
from medvfm.core.plurals import plural
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom.header import DataSet, Header
from medvfm.io.formats import bounded_read

_OFF_SLICE_VOX = 0.25  # by which a contour may miss the middle of its slice
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")


def structure_masks(
    path: str | Path,
    reference: Image,
    *,
    names: Sequence[str] | None = None,
    empty: bool = False,
    limit_gib: float = 4.0,
) -> dict[str, np.ndarray]:
    """Name to (i, j, k) bool of each structure with closed contours, on the grid of `reference`.

    names  those wanted; without it all
    empty  a structure of `names` that the file lists without any contour is empty; without it, it is refused
    """
    path = Path(path)
    with dicom_header.opened(path, limit_gib=limit_gib) as header:
        drawn = _drawn(header, names, reference, empty=empty)
        bounded_read.refuse_larger(len(drawn) * int(np.prod(reference.shape_vox)), limit_gib, path)
        return {name: _mask(contours, reference, name, path) for name, contours in drawn.items()}


def read_structures(
    path: str | Path, reference: Image, *, names: Sequence[str] | None = None, limit_gib: float = 4.0
) -> Image:
    """A label map on the grid of `reference`: 1, 2, ... in the order of the file or of `names`.

    `header["structures"]` has the names by value. Structures that overlap are refused; contours that are not closed
    are left out, and noted.
    """
    path = Path(path)
    bounded_read.refuse_larger(4 * int(np.prod(reference.shape_vox)), limit_gib, path)
    with dicom_header.opened(path, limit_gib=limit_gib) as header:
        drawn = _drawn(header, names, reference)
        labels = np.zeros(reference.shape_vox, np.uint8 if len(drawn) < 256 else np.uint16)
        for value, (name, contours) in enumerate(drawn.items(), 1):
            mask = _mask(contours, reference, name, path)
            if (clash := labels[mask]).any():
                other = list(drawn)[int(clash.max()) - 1]
                raise UnreadableImage(
                    f"its structures {other!r} and {name!r} overlap", where=path, remedy="choose with names=[...]"
                )
            labels[mask] = value
        open_ones = _open_contours(header, drawn)
    facts: dict[str, Any] = {
        "format": "dicom",
        "modality": "RTSTRUCT",
        "structures": dict(enumerate(drawn, 1)),
        "uids": {"frame_of_reference": _frame_of_reference(reference)},
    }
    return Image(labels, reference.affine, "label", reference.has_spacing, open_ones, facts)


def is_structure_set(path: str | Path, *, limit_gib: float = 4.0) -> bool:
    """Whether a DICOM file is an RTSTRUCT."""
    with dicom_header.opened(Path(path), limit_gib=limit_gib) as header:
        return header.text("Modality") == "RTSTRUCT"


def structure_names(path: str | Path, *, limit_gib: float = 4.0) -> tuple[str, ...]:
    """The structures of a file, in its order, with or without contours."""
    with dicom_header.opened(Path(path), limit_gib=limit_gib) as header:
        return tuple(_regions(header).values())


def _frame_of_reference(image: Image) -> str:
    uids = image.header.get("uids")
    return str(uids.get("frame_of_reference", "")) if isinstance(uids, dict) else ""


def _regions(header: Header) -> dict[int, str]:
    if "StructureSetROISequence" not in header:
        raise UnreadableImage("it is no RTSTRUCT with structures", where=header.path)
    found: dict[int, str] = {}
    for item in header.items("StructureSetROISequence"):
        number = item.integer("ROINumber")
        name = item.label("ROIName") or f"structure {number}"
        found[number] = name if name not in found.values() else f"{name} ({number})"
    return found


def _refuse_elsewhere(header: Header, drawn: dict[str, list[DataSet]], reference: Image) -> None:
    regions, here = _regions(header), _frame_of_reference(reference)
    for item in header.items("StructureSetROISequence"):
        name, there = regions[item.integer("ROINumber")], item.text("ReferencedFrameOfReferenceUID")
        if name in drawn and here and there and there != here:
            what = f"{name!r} lies in another frame of reference than the image"
            raise UnreadableImage(what, where=header.path)


def _drawn(
    header: Header, names: Sequence[str] | None, reference: Image, *, empty: bool = False
) -> dict[str, list[DataSet]]:
    """Name to the contours of each structure that is wanted and has closed ones, or with `empty` none at all."""
    regions = _regions(header)
    contours: dict[str, list[DataSet]] = {}
    blank = set(regions.values())
    for item in header.items("ROIContourSequence"):
        name = regions.get(item.integer("ReferencedROINumber"))
        every = item.items("ContourSequence")
        closed = [c for c in every if c.text("ContourGeometricType") in _CLOSED]
        if name is not None and closed:
            contours[name] = contours.get(name, []) + closed
        if every:
            blank.discard(name or "")
    if names is not None and empty:
        contours |= {name: [] for name in names if name in blank}
    if names is None:
        _refuse_elsewhere(header, contours, reference)
        return contours
    if missing := [n for n in names if n not in contours]:
        raise UnreadableImage(
            f"no closed contours of {missing[0]!r}", where=header.path, remedy=f"it has {', '.join(contours)}"
        )
    wanted = {name: contours[name] for name in names}
    _refuse_elsewhere(header, wanted, reference)
    return wanted


def _open_contours(header: Header, drawn: Container[str]) -> tuple[str, ...]:
    """A note for each drawn structure that has points or open lines besides its closed contours."""
    regions, found = _regions(header), []
    for item in header.items("ROIContourSequence"):
        name = regions.get(item.integer("ReferencedROINumber"))
        count = sum(c.text("ContourGeometricType") not in _CLOSED for c in item.items("ContourSequence"))
        if name in drawn and count:
            found.append(f"{plural(count, 'contour')} of {name!r} left out: not closed")
    return tuple(found)


def _mask(contours: Sequence[DataSet], reference: Image, name: str, path: Path) -> np.ndarray:
    mask = np.zeros(reference.shape_vox, bool)
    lps2vox = np.linalg.inv(reference.affine) @ LPS_TO_RAS
    by_slice: dict[int, list[np.ndarray]] = {}
    heights: dict[int, list[float]] = {}
    for contour in contours:
        points_mm = np.array(contour.numbers("ContourData"))
        if len(points_mm) % 3 or not len(points_mm):
            raise UnreadableImage(f"a contour of {name!r} is no list of points", where=path)
        points_vox = points_mm.reshape(-1, 3) @ lps2vox[:3, :3].T + lps2vox[:3, 3]
        heights_vox = points_vox[:, 2]
        k = int(np.rint(heights_vox.mean()))
        if np.ptp(heights_vox) > _OFF_SLICE_VOX or abs(heights_vox.mean() - k) > _OFF_SLICE_VOX:
            raise UnreadableImage(f"contours of {name!r} do not lie in the slices of the image", where=path)
        if not 0 <= k < mask.shape[2] or _is_beside(points_vox[:, :2], mask.shape[:2]):
            raise UnreadableImage(f"contours of {name!r} reach beyond the image", where=path)
        by_slice.setdefault(k, []).append(points_vox[:, :2])
        heights.setdefault(k, []).append(float(heights_vox.mean()))
    for k, polygons in by_slice.items():
        if np.ptp(heights[k]) > _OFF_SLICE_VOX:
            raise UnreadableImage(f"contours of {name!r} lie closer than the slices of the image", where=path)
        mask[:, :, k] = inside(polygons, mask.shape[:2])
    return mask


def _is_beside(points_vox: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether all points of a contour lie beyond one side of the image; one that crosses an edge does not."""
    return bool((points_vox < -0.5).all(axis=0).any() or (points_vox > np.array(shape) - 0.5).all(axis=0).any())


def inside(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(i, j) bool: where the voxel's centre is inside an odd number of the polygons (n, 2) in voxel coordinates.

    Each edge crosses the lines j = constant of the centres; every crossing turns over what lies beyond it along i.
    """
    crossings = np.zeros((shape[0] + 1, shape[1]), np.int32)
    for points in polygons:
        a, b = points, np.roll(points, -1, axis=0)
        for (i0, j0), (i1, j1) in zip(a, b, strict=True):
            low, high = (j0, j1) if j0 <= j1 else (j1, j0)
            first, last = max(int(np.ceil(low)), 0), min(int(np.ceil(high)), shape[1])  # low <= j < high
            if first >= last:
                continue
            j = np.arange(first, last)
            i = np.ceil(i0 + (j - j0) * (i1 - i0) / (j1 - j0)).clip(0, shape[0]).astype(int)
            crossings[i, j] += 1  # one crossing for each j: no index occurs twice
    return (np.cumsum(crossings[:-1], axis=0) % 2).astype(bool)
